"""This project's own bootstrapping, in its own process: prints one JSON line for `benchmarks.bootstrap`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

import cipherformer
from cipherformer import _native as native
from cipherformer.backends.ckks.algebra import CkksAlgebra, Encoded
from cipherformer.backends.ckks.engine import make_context
from cipherformer.kernels import bootstrap as kernel
from cipherformer.kernels.count import refresh_ledger
from cipherformer.targets.bootstrap import bootstrap_set

SPIN = "while True: pass"


class Own:
    """Keys of a set, and one ciphertext with complex slots."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.settings = bootstrap_set(setting["set"])
        target, ledger = self.settings.target(), refresh_ledger(self.settings)
        self.target, self.boot = target, kernel.prepare(self.settings)
        self.context = make_context(target, threads=setting["threads"])
        self.secret, self.keys = native.SecretKey(self.context), native.KeySet(self.context)
        self.keys.add(self.secret.relinearisation_key(ledger.relinearise))
        self.keys.add(self.secret.conjugation_key(ledger.conjugate))
        self.keys.add(self.secret.encapsulation_key())
        self.keys.add(self.secret.decapsulation_key(ledger.raised))
        for steps, level in ledger.rotations.items():
            self.keys.add(self.secret.rotation_key(steps, level))
        self.encoded = Encoded(self.context)
        evaluator = native.Evaluator(self.context, self.keys)
        self.algebra = CkksAlgebra(target.moduli, target.slots, evaluator, self.encoded)
        rng = np.random.default_rng(1)
        self.slots = rng.uniform(-1, 1, target.slots) + 1j * rng.uniform(-1, 1, target.slots)
        plain = self.context.encode(self.slots, self.settings.input_level, target.scale)
        self.ciphertext = self.secret.encrypt(plain)

    def refresh(self) -> tuple[native.Ciphertext, dict[str, float]]:
        """A refreshed ciphertext and the seconds of each phase."""
        b, boot, scale = self.algebra, self.boot, self.target.scale
        marks = [time.perf_counter()]
        x = kernel.slots_to_coefficients(b, boot, [self.ciphertext])
        marks.append(time.perf_counter())
        x = b.raise_modulus(x)
        marks.append(time.perf_counter())
        x = kernel.coefficients_to_slots(b, boot, x)
        marks.append(time.perf_counter())
        real, imaginary = kernel.remove_multiples(b, boot, x, scale, imaginary=True)
        y = b.add(real, b.times_i(imaginary))
        marks.append(time.perf_counter())
        names = ("stc", "raise", "cts", "evalmod")
        phases = {name: marks[i + 1] - marks[i] for i, name in enumerate(names)}
        return y, {"seconds": marks[-1] - marks[0], **{f"seconds_{k}": v for k, v in phases.items()}}


def main() -> None:
    setting = json.loads(sys.argv[1])
    own = Own(setting)
    y, _ = own.refresh()  # encodes the transforms
    error = np.abs(own.context.decode(own.secret.decrypt(y)) - own.slots)
    runs = [own.refresh()[1] for _ in range(setting["repeat"])]
    metrics = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    if setting["busy"]:
        spinner = subprocess.Popen([sys.executable, "-c", SPIN])
        try:
            os.sched_setaffinity(spinner.pid, {0})
            metrics["seconds_busy_core"] = float(
                np.median([own.refresh()[1]["seconds"] for _ in range(setting["repeat"])])
            )
        finally:
            spinner.kill()
            spinner.wait()
    metrics |= {
        "levels_left": y.level - own.settings.input_level,
        "precision_bits": float(-np.log2(error.mean())),
        "precision_bits_worst": float(-np.log2(error.max())),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "key_bytes": own.keys.memory_bytes(),
        "transform_bytes": own.encoded.memory_bytes,
    }
    parameters = {
        "set": own.settings.name,
        "log_n": own.target.log_n,
        "limbs": len(own.target.moduli),
        "log_qp": round(own.target.log_qp, 1),
        "security_bits": own.target.security_bits,
        "kernels": own.context.kernels,
        "order": "slots to coefficients first",
    }
    sys.stdout.write(
        json.dumps({"version": cipherformer.__version__, "parameters": parameters, "metrics": metrics}) + "\n"
    )


if __name__ == "__main__":
    main()
