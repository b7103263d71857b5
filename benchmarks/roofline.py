"""Prints how near each ring kernel comes to the machine's limits: `python -m benchmarks.roofline`.

Builds and runs `native/bench/bench_roofline.cpp` (one thread), which measures the limits, too: bytes a second
from memory, and vector operations a second in registers. `limit` is the time that the operands or the
operations alone would take. Arithmetic limits are known for the AVX2 path only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from rich.console import Console

import cipherformer
from cipherformer.cli.output import print_table
from cipherformer.report import schema
from cipherformer.report.compare import OWN, suite_table
from cipherformer.report.machine import machine, today

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "tests"
LIMIT = "limit"


def build() -> Path:
    """The benchmark program, built with the tools of this environment."""
    tools = Path(sys.executable).parent
    configure = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", "-DCIPHERFORMER_NATIVE_TESTS=ON"]
    cmake = str(tools / "cmake")
    subprocess.run([cmake, *configure, "-S", ROOT, "-B", BUILD], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [cmake, "--build", BUILD, "--target", "bench_roofline"], check=True, stdout=subprocess.DEVNULL
    )
    return BUILD / "native" / "bench_roofline"


def records(text: str) -> list[schema.BenchmarkRecord]:
    """Two records a kernel, the measured time and its limit, from the program's lines."""
    out = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 5:
            continue
        name, log_n, seconds, limit, what = fields
        case = f"{name}, 2^{log_n} residues ({what})"
        for subject, value in ((OWN, seconds), (LIMIT, limit)):
            record = schema.BenchmarkRecord(
                suite="roofline",
                case=case,
                subject=subject,
                version=cipherformer.__version__,
                metric="seconds",
                value=float(value),
                unit="s",
                threads=1,
                parameters={"limit": what},
                machine=machine(),
                date=today(),
            )
            out.append(record)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--program", type=Path, help="bench_roofline, if it is built already")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    options, console = parser.parse_args(), Console(highlight=False)
    run = subprocess.run([options.program or build()], check=True, capture_output=True, text=True)
    found = records(run.stdout)
    print_table(console, suite_table("roofline", found))
    for line in run.stdout.splitlines():
        if line.count("\t") == 1:
            console.print(line.replace("\t", ": "))
    if options.json:
        schema.write(options.json, found)


if __name__ == "__main__":
    main()
