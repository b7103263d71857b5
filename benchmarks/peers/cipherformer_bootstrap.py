"""This project's own bootstrapping, in its own process: prints one JSON line for `benchmarks.bootstrap`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        self.target, ledger = self.settings.target(), refresh_ledger(self.settings)
        self.boot = kernel.prepare(self.settings)
        self.context = make_context(self.target, threads=setting["threads"])
        self.secret, self.encoded = native.SecretKey(self.context), Encoded(self.context)
        self.keys = [
            self.secret.relinearisation_key(ledger.relinearise),
            self.secret.conjugation_key(ledger.conjugate),
            self.secret.encapsulation_key(),
            self.secret.decapsulation_key(ledger.raised),
            *(self.secret.rotation_key(steps, level) for steps, level in ledger.rotations.items()),
        ]
        rng = np.random.default_rng(1)
        slots = self.target.slots
        self.slots = rng.uniform(-1, 1, slots) + 1j * rng.uniform(-1, 1, slots)
        plain = self.context.encode(self.slots, self.settings.input_level, self.target.scale)
        self.ciphertext = self.secret.encrypt(plain)

    def algebra(self, threads: int) -> CkksAlgebra:
        """With the same keys and transforms, on so many threads."""
        same = threads == self.context.threads
        context = self.context if same else make_context(self.target, threads=threads)
        keys = native.KeySet(context)
        for key in self.keys:
            keys.add(key)
        evaluator = native.Evaluator(context, keys)
        return CkksAlgebra(self.target.moduli, self.target.slots, evaluator, self.encoded)

    def refresh(self, b: CkksAlgebra) -> tuple[native.Ciphertext, dict[str, float]]:
        """A refreshed ciphertext and the seconds of each phase."""
        boot, scale = self.boot, self.target.scale
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

    def seconds(self, b: CkksAlgebra) -> float:
        """One call."""
        return self.refresh(b)[1]["seconds"]

    def seconds_one_value(self, b: CkksAlgebra) -> float:
        """One call for a real value: the imaginary half is left out."""
        start = time.perf_counter()
        kernel.refresh(b, self.boot, [self.ciphertext], self.settings.output_level, self.target.scale)
        return time.perf_counter() - start


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process spins on the first core for as long as this lasts."""
    spinner = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        os.sched_setaffinity(spinner.pid, {0})
        yield
    finally:
        spinner.kill()
        spinner.wait()


def main() -> None:
    setting = json.loads(sys.argv[1])
    own = Own(setting)
    b, repeat = own.algebra(setting["threads"]), setting["repeat"]
    y, _ = own.refresh(b)  # encodes the transforms
    error = np.abs(own.context.decode(own.secret.decrypt(y)) - own.slots)
    own.refresh(b)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    single = own.algebra(1)
    own.refresh(single)  # takes its memory
    runs: list[dict[str, float]] = []
    for _ in range(repeat):  # the conditions take turns, so that a disturbance hits all of them
        before = time.process_time()
        run = own.refresh(b)[1]
        run["processor_seconds"] = time.process_time() - before
        run["seconds_one_value"] = own.seconds_one_value(b)
        run["seconds_one_thread"] = own.seconds(single)
        with busy_core():
            run["seconds_busy_core"] = own.seconds(b)
        runs.append(run)
    metrics = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    metrics |= {
        "levels_left": y.level - own.settings.input_level,
        "precision_bits": float(-np.log2(error.mean())),
        "precision_bits_worst": float(-np.log2(error.max())),
        "peak_memory_bytes": peak,
        "key_bytes": sum(key.memory_bytes for key in own.keys),
        "transform_bytes": own.encoded.memory_bytes,
    }
    parameters = {
        "set": own.settings.name,
        "log_n": own.target.log_n,
        "limbs": len(own.target.moduli),
        "log_qp": round(own.target.log_qp, 1),
        "security_bits": own.target.security_bits,
        "kernels": own.context.kernels,
        "rounds": repeat,
        "order": "slots to coefficients first",
        "load_average": os.getloadavg()[0],
    }
    sys.stdout.write(
        json.dumps({"version": cipherformer.__version__, "parameters": parameters, "metrics": metrics}) + "\n"
    )


if __name__ == "__main__":
    main()
