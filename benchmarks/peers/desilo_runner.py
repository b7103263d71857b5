"""DESILO FHE, only where the user installed it (its licence is non-commercial). It chooses its own primes
and rescales within products."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from desilofhe import Engine
from protocol import Inputs, Library, serve


class Desilo(Library):
    """An engine with as many levels as the setting has, where DESILO gives it the same N."""

    def __init__(self, setting: dict[str, Any], inputs: Inputs) -> None:
        self.version, self.parameters, self.operations = version("desilofhe"), {}, {}
        engine = self.engine = Engine(max_level=setting["limbs"] - 1, thread_count=setting["threads"])
        reason = f"DESILO takes {engine.slot_count} slots for {setting['limbs'] - 1} levels"
        if engine.slot_count != 1 << (setting["log_n"] - 1):
            self.missing = dict.fromkeys(setting["operations"], reason)
            return
        self.missing = {"rescale": "part of its products"}
        self.missing |= dict.fromkeys(
            (name for name in setting["operations"] if name.startswith("matvec")),
            "its product takes another layout",
        )
        self.secret = engine.create_secret_key()
        public = engine.create_public_key(self.secret)
        relinearisation = engine.create_relinearization_key(self.secret)
        steps = range(1, setting["hoisted"] + 1)
        keys = [engine.create_fixed_rotation_key(self.secret, step) for step in steps]
        plain_x, plain_w = engine.encode(inputs.x), engine.encode(inputs.w)
        x, y = (engine.encrypt(values, public) for values in (inputs.x, inputs.y))
        self.operations = {
            "encode": lambda: engine.encode(inputs.x),
            "encrypt": lambda: engine.encrypt(plain_x, public),
            "add": lambda: engine.add(x, y),
            "multiply-plain": lambda: engine.multiply(x, plain_w),
            "multiply": lambda: engine.multiply(x, y, relinearisation),
            "rotate": lambda: engine.rotate(x, keys[0]),
            "rotate-hoisted": lambda: engine.rotate_many(x, keys),
        }

    def decrypt(self, result: Any) -> np.ndarray:
        last = result[-1] if isinstance(result, list) else result
        return np.real(self.engine.decrypt(last, self.secret))


if __name__ == "__main__":
    serve(Desilo)
