"""Times the engine on one thread, on two, and on two while another program spins on one of the cores.

`python -m benchmarks.threads [--json FILE]`. Waiting threads sleep, so a busy neighbour may take what it
takes of a core and no more. Median of all calls; the runs of the subjects take turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

import cipherformer
from benchmarks.peers.protocol import Inputs, measure
from benchmarks.sets import SETTINGS, Setting
from cipherformer import _native as native
from cipherformer.cli.output import print_table
from cipherformer.report import schema
from cipherformer.report.compare import suite_table
from cipherformer.report.machine import machine, today

SUBJECTS = ("1 thread", "2 threads", "2 threads, contended")
PRODUCT = Setting(16, 8, (48,) * 3, (), matrix_size=768, baby_step=32)
SPIN = "while True: pass"


@contextmanager
def spinning() -> Iterator[None]:
    """A process that takes a whole core for as long as this lasts."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def context_of(setting: Setting, threads: int) -> tuple[native.Context, native.SecretKey, native.KeySet]:
    """A context with a fresh secret key and no evaluation keys."""
    bits = [setting.first_bits, *[setting.scale_bits] * (setting.limbs - 1)]
    primes = native.generate_primes(setting.log_n, [*bits, *setting.special])
    digit = -(-setting.limbs // setting.dnum)
    parameters = native.Parameters(setting.log_n, primes[: len(bits)], primes[len(bits) :], digit)
    context = native.Context(parameters, threads=threads)
    return context, native.SecretKey(context), native.KeySet(context)


def calls(threads: int) -> dict[str, Callable[[], Any]]:
    """The cases: a rotation and a product of ciphertexts at N = 2^16, and a 768 x 768 matrix."""
    setting = next(s for s in SETTINGS if s.log_n == 16 and "rotate" in s.operations)
    context, secret, keys = context_of(setting, threads)
    level, scale = setting.limbs - 1, 2.0**setting.scale_bits
    keys.add(secret.relinearisation_key(level))
    keys.add(secret.rotation_key(1, level))
    evaluator = native.Evaluator(context, keys)
    x = secret.encrypt(context.encode(np.linspace(-1, 1, context.params.slots), level, scale))
    inputs = Inputs(PRODUCT.to_dict((), threads))
    small, small_secret, small_keys = context_of(PRODUCT, threads)
    transform = small.linear_transform(
        list(range(PRODUCT.matrix_size)),
        inputs.diagonals(),
        PRODUCT.limbs - 1,
        2.0**PRODUCT.scale_bits,
        PRODUCT.baby_step,
    )
    babies, giants = transform.rotations_needed
    for steps in {*babies, *giants} - {0}:
        small_keys.add(small_secret.rotation_key(steps, PRODUCT.limbs - 1))
    matrix = native.Evaluator(small, small_keys)
    vector = small_secret.encrypt(small.encode(inputs.vector, PRODUCT.limbs - 1, 2.0**PRODUCT.scale_bits))
    return {
        setting.case("rotate"): lambda: evaluator.rotate(x, 1),
        setting.case("multiply"): lambda: evaluator.multiply(x, x),
        PRODUCT.case("matvec768"): lambda: matrix.apply(transform, vector),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all subjects (default 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for a case, subject and round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    options, console = parser.parse_args(), Console(highlight=False)
    one, two = calls(1), calls(2)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for case in one:
            times.setdefault((case, SUBJECTS[0]), []).extend(measure(one[case], options.seconds))
            times.setdefault((case, SUBJECTS[1]), []).extend(measure(two[case], options.seconds))
            with spinning():
                times.setdefault((case, SUBJECTS[2]), []).extend(measure(two[case], options.seconds))
    records = [
        schema.BenchmarkRecord(
            suite="threads", case=case, subject=subject, version=cipherformer.__version__, metric="seconds",
            value=median(values), unit="s", threads=1 if subject == SUBJECTS[0] else 2,
            parameters={"samples": len(values), "fastest": min(values)}, machine=machine(), date=today(),
        )
        for (case, subject), values in times.items()
    ]  # fmt: skip
    print_table(console, suite_table("threads", records))
    for case in one:
        alone, both, contended = (median(times[case, subject]) for subject in SUBJECTS)
        console.print(
            f"{case}: two threads {alone / both:.2f} times as fast as one; contended {contended / both:.2f} "
            f"times as long as alone, {contended / alone:.2f} times one thread"
        )
    if options.json:
        schema.write(options.json, records)


if __name__ == "__main__":
    main()
