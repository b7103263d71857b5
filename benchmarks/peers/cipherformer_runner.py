"""This project's own engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Inputs, Library, serve

import cipherformer
from cipherformer import _native as native


class Own(Library):
    def __init__(self, setting: dict[str, Any], inputs: Inputs) -> None:
        self.setting, self.version, self.missing = setting, cipherformer.__version__, {}
        bits = [setting["first_bits"], *[setting["scale_bits"]] * (setting["limbs"] - 1)]
        primes = native.generate_primes(setting["log_n"], [*bits, *setting["special"]])
        digit = -(-setting["limbs"] // setting["dnum"])
        parameters = native.Parameters(setting["log_n"], primes[: len(bits)], primes[len(bits) :], digit)
        self.context = native.Context(parameters, threads=setting["threads"])
        self.level, self.scale = setting["limbs"] - 1, 2.0 ** setting["scale_bits"]
        self.parameters = {
            "log_qp": round(parameters.log_qp, 1),
            "dnum": parameters.dnum,
            "kernels": self.context.kernels,
        }
        self.secret = native.SecretKey(self.context)
        self.public = self.secret.public_key()
        wanted = set(setting["operations"])
        self.operations = {}
        products = {name for name in wanted if name.startswith("matvec")}
        if products:
            self.operations.update(self.matrix(inputs))
        if wanted - products:
            self.operations.update(self.single(inputs))

    def encode(self, values: np.ndarray) -> Any:
        return self.context.encode(values, self.level, self.scale)

    def decrypt(self, result: Any) -> np.ndarray:
        last = result[-1] if isinstance(result, list) else result
        return np.asarray(self.context.decode(self.secret.decrypt(last)).real)

    def single(self, inputs: Inputs) -> dict[str, Any]:
        steps, keys = list(range(1, self.setting["hoisted"] + 1)), native.KeySet(self.context)
        keys.add(self.secret.relinearisation_key(self.level))
        for step in steps:
            keys.add(self.secret.rotation_key(step, self.level))
        evaluator = native.Evaluator(self.context, keys)
        plain_x, plain_w = self.encode(inputs.x), self.encode(inputs.w)
        x, y = self.public.encrypt(plain_x), self.public.encrypt(self.encode(inputs.y))
        product = evaluator.mul_plain(x, plain_w)
        return {
            "encode": lambda: self.encode(inputs.x),
            "encrypt": lambda: self.public.encrypt(plain_x),
            "add": lambda: evaluator.add(x, y),
            "multiply-plain": lambda: evaluator.mul_plain(x, plain_w),
            "multiply": lambda: evaluator.multiply(x, y),
            "rescale": lambda: evaluator.rescale(product),
            "rotate": lambda: evaluator.rotate(x, 1),
            "rotate-hoisted": lambda: evaluator.rotate_hoisted(x, steps),
        }

    def matrix(self, inputs: Inputs) -> dict[str, Any]:
        """Double-hoisted baby and giant steps over diagonals that repeat with the size of the matrix."""
        diagonals = inputs.diagonals()

        def encode_all() -> Any:
            return self.context.linear_transform(
                list(range(len(diagonals))), diagonals, self.level, self.scale, self.setting["baby_step"]
            )

        transform, keys = encode_all(), native.KeySet(self.context)
        babies, giants = transform.rotations_needed
        for step in sorted({*babies, *giants} - {0}):
            keys.add(self.secret.rotation_key(step, self.level))
        evaluator = native.Evaluator(self.context, keys)
        vector = self.public.encrypt(self.encode(inputs.vector))
        name = f"matvec{self.setting['matrix_size']}"
        return {f"{name}-encode": encode_all, name: lambda: evaluator.apply(transform, vector)}


if __name__ == "__main__":
    serve(Own)
