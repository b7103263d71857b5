"""OpenFHE. Run by a Python 3.10 interpreter that has the `openfhe` wheel and numpy."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import openfhe
from protocol import Inputs, Library, serve


class OpenFhe(Library):
    """Hybrid key switching, FIXEDMANUAL rescaling, HEStd_128_classic, the ciphertext primes of the setting.

    The special primes are OpenFHE's own choice: as many of 60 bits as the largest digit needs.
    """

    def __init__(self, setting: dict[str, Any], inputs: Inputs) -> None:
        self.version = openfhe.__version__
        self.missing = {}
        self.setting = setting
        self.context = make_context(setting)
        self.keys = self.context.KeyGen()
        wanted = set(setting["operations"])
        self.operations = {}
        self.parameters = {"scaling": "FIXEDMANUAL", "dnum": setting["dnum"]}
        products = {name for name in wanted if name.startswith("matvec")}
        if products:
            self.operations.update(self.matrix(inputs))
        if wanted - products:
            self.operations.update(self.single(inputs))

    def encode(self, values: np.ndarray) -> Any:
        return self.context.MakeCKKSPackedPlaintext(values)

    def encrypt(self, plaintext: Any) -> Any:
        return self.context.Encrypt(self.keys.publicKey, plaintext)

    def decrypt(self, result: Any) -> np.ndarray:
        last = result[-1] if isinstance(result, list) else result
        plaintext = self.context.Decrypt(self.keys.secretKey, last)
        return np.asarray(plaintext.GetRealPackedValue())

    def single(self, inputs: Inputs) -> dict[str, Any]:
        context, steps = self.context, list(range(1, self.setting["hoisted"] + 1))
        context.EvalMultKeyGen(self.keys.secretKey)
        context.EvalRotateKeyGen(self.keys.secretKey, steps)
        plain_x, plain_w = self.encode(inputs.x), self.encode(inputs.w)
        x, y = self.encrypt(plain_x), self.encrypt(self.encode(inputs.y))
        product, order = context.EvalMult(x, plain_w), 2 << self.setting["log_n"]

        def hoisted() -> list[Any]:
            digits = context.EvalFastRotationPrecompute(x)
            return [context.EvalFastRotation(x, step, order, digits) for step in steps]

        return {
            "encode": lambda: self.encode(inputs.x),
            "encrypt": lambda: self.encrypt(plain_x),
            "add": lambda: context.EvalAdd(x, y),
            "multiply-plain": lambda: context.EvalMult(x, plain_w),
            "multiply": lambda: context.EvalMult(x, y),
            "rescale": lambda: context.Rescale(product),
            "rotate": lambda: context.EvalRotate(x, 1),
            "rotate-hoisted": hoisted,
        }

    def matrix(self, inputs: Inputs) -> dict[str, Any]:
        """Baby steps hoisted, giant steps not: what the Python interface allows."""
        context, size, step = self.context, self.setting["matrix_size"], self.setting["baby_step"]
        giants, order = range(0, size, step), 2 << self.setting["log_n"]
        context.EvalRotateKeyGen(self.keys.secretKey, [*range(1, step), *giants[1:]])
        diagonals, repeat = inputs.diagonals(), len(inputs.x) // inputs.block

        def encode_all() -> list[list[Any]]:
            return [
                [self.encode(np.tile(np.roll(diagonals[g + b], g), repeat)) for b in range(step)]
                for g in giants
            ]

        rows, vector = encode_all(), self.encrypt(self.encode(inputs.vector))

        def product() -> Any:
            digits = context.EvalFastRotationPrecompute(vector)
            babies = [vector] + [context.EvalFastRotation(vector, b, order, digits) for b in range(1, step)]
            total = None
            for giant, row in zip(giants, rows):  # noqa: B905 (Python 3.10 here)
                terms = (context.EvalMult(baby, diagonal) for baby, diagonal in zip(babies, row))  # noqa: B905
                inner = reduce(_add_into(context), terms)
                inner = context.EvalRotate(inner, giant) if giant else inner
                total = inner if total is None else context.EvalAdd(total, inner)
            return total

        return {f"matvec{size}-encode": encode_all, f"matvec{size}": product}


def _add_into(context: Any) -> Any:
    def add(total: Any, term: Any) -> Any:
        context.EvalAddInPlace(total, term)
        return total

    return add


def make_context(setting: dict[str, Any]) -> Any:
    """The context, or OpenFHE's own error if the set were below 128 bits."""
    parameters = openfhe.CCParamsCKKSRNS()
    parameters.SetSecurityLevel(openfhe.SecurityLevel.HEStd_128_classic)
    parameters.SetRingDim(1 << setting["log_n"])
    parameters.SetMultiplicativeDepth(setting["limbs"] - 1)
    parameters.SetFirstModSize(setting["first_bits"])
    parameters.SetScalingModSize(setting["scale_bits"])
    parameters.SetScalingTechnique(openfhe.ScalingTechnique.FIXEDMANUAL)
    parameters.SetKeySwitchTechnique(openfhe.KeySwitchTechnique.HYBRID)
    parameters.SetNumLargeDigits(setting["dnum"])
    context = openfhe.GenCryptoContext(parameters)
    for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE"):
        context.Enable(getattr(openfhe.PKESchemeFeature, feature))
    return context


if __name__ == "__main__":
    serve(OpenFhe)
