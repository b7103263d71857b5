"""Microsoft SEAL, through `tenseal.sealapi`. One thread, one prime a digit, one special prime of 60 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import tenseal
from protocol import Inputs, Library, serve
from tenseal import sealapi as seal


class Seal(Library):
    def __init__(self, setting: dict[str, Any], inputs: Inputs) -> None:
        self.setting, self.version = setting, f"tenseal {tenseal.__version__}"
        self.missing = {"rotate-hoisted": "SEAL has no hoisted rotation"}
        bits = [setting["first_bits"], *[setting["scale_bits"]] * (setting["limbs"] - 1), 60]
        self.parameters = {"log_qp": sum(bits), "dnum": setting["limbs"]}
        self.operations = {}
        if setting["matrix_size"] > 256:
            self.missing = dict.fromkeys(setting["operations"], "without hoisting it takes too long")
            return
        if setting["log_n"] > 15:
            self.missing = dict.fromkeys(setting["operations"], "SEAL's security table ends at N = 2^15")
            return
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(1 << setting["log_n"])
        parameters.set_coeff_modulus(seal.CoeffModulus.Create(1 << setting["log_n"], bits))
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        self.encoder, self.evaluator = seal.CKKSEncoder(self.context), seal.Evaluator(self.context)
        self.generator = seal.KeyGenerator(self.context)
        public = seal.PublicKey()
        self.generator.create_public_key(public)
        self.encryptor = seal.Encryptor(self.context, public)
        self.decryptor = seal.Decryptor(self.context, self.generator.secret_key())
        wanted = set(setting["operations"])
        if wanted & {"matvec256", "matvec256-encode"}:
            self.operations.update(self.matrix(inputs))
        if wanted - {"matvec256", "matvec256-encode"}:
            self.operations.update(self.single(inputs))

    def encode(self, values: Any) -> Any:
        plaintext = seal.Plaintext()
        self.encoder.encode(values, 2.0 ** self.setting["scale_bits"], plaintext)
        return plaintext

    def encrypt(self, plaintext: Any) -> Any:
        return self.call("encrypt", plaintext, on=self.encryptor)

    def call(self, method: str, *arguments: Any, on: Any = None) -> Any:
        """Calls a method that writes its result into a last argument."""
        result = seal.Ciphertext()
        getattr(on or self.evaluator, method)(*arguments, result)
        return result

    def decrypt(self, result: Any) -> np.ndarray:
        plaintext = seal.Plaintext()
        self.decryptor.decrypt(result, plaintext)
        return np.asarray(self.encoder.decode_double(plaintext))

    def galois_keys(self, steps: list[int]) -> Any:
        keys = seal.GaloisKeys()
        self.generator.create_galois_keys([pow(3, s, 2 << self.setting["log_n"]) for s in steps], keys)
        return keys

    def single(self, inputs: Inputs) -> dict[str, Any]:
        rotation, relinearisation = self.galois_keys([1]), seal.RelinKeys()
        self.generator.create_relin_keys(relinearisation)
        values = inputs.x.tolist()  # the binding takes a list; making it is not timed
        plain_x, plain_w = self.encode(values), self.encode(inputs.w.tolist())
        x, y = self.encrypt(plain_x), self.encrypt(self.encode(inputs.y.tolist()))
        product = self.call("multiply_plain", x, plain_w)

        def multiply() -> Any:
            result = self.call("multiply", x, y)
            self.evaluator.relinearize_inplace(result, relinearisation)
            return result

        return {
            "encode": lambda: self.encode(values),
            "encrypt": lambda: self.encrypt(plain_x),
            "add": lambda: self.call("add", x, y),
            "multiply-plain": lambda: self.call("multiply_plain", x, plain_w),
            "multiply": multiply,
            "rescale": lambda: self.call("rescale_to_next", product),
            "rotate": lambda: self.call("rotate_vector", x, 1, rotation),
        }

    def matrix(self, inputs: Inputs) -> dict[str, Any]:
        """Baby and giant steps, each an ordinary rotation."""
        size, step = self.setting["matrix_size"], self.setting["baby_step"]
        keys = self.galois_keys([*range(1, step), *range(step, size, step)])
        diagonals, repeat = inputs.diagonals(), len(inputs.x) // size
        lists = [
            [np.tile(np.roll(diagonals[g + b], g), repeat).tolist() for b in range(step)]
            for g in range(0, size, step)
        ]

        def encode_all() -> list[list[Any]]:
            return [[self.encode(values) for values in row] for row in lists]

        rows, vector = encode_all(), self.encrypt(self.encode(inputs.vector.tolist()))

        def product() -> Any:
            babies = [vector] + [self.call("rotate_vector", vector, b, keys) for b in range(1, step)]
            total = None
            for giant, row in enumerate(rows):
                terms = [self.call("multiply_plain", b, d) for b, d in zip(babies, row, strict=True)]
                inner = self.call("add_many", terms)
                if giant:
                    self.evaluator.rotate_vector_inplace(inner, giant * step, keys)
                    self.evaluator.add_inplace(total, inner)
                else:
                    total = inner
            return total

        return {"matvec256-encode": encode_all, "matvec256": product}


if __name__ == "__main__":
    serve(Seal)
