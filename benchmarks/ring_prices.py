"""Measures what local ring arithmetic costs: the seconds that predictions for protocols on shares use.

`python -m benchmarks.ring_prices [--out FILE]`: the default is the package's table. One thread. A matrix
product is torch's integer one or six float64 products of limbs of 22 bits, whichever is faster; in 128 bits
it counts as four of 64 bits, and so does an element.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

import cipherformer.targets.protocols as table
from cipherformer.report.machine import machine, today

TOKENS, WIDTH, ELEMENTS, REPEATS = 128, 768, 1 << 15, 9
TYPES = {32: torch.int32, 64: torch.int64}
LIMBS = 4  # products of 64 bits in one of 128


def seconds(call: Callable[[], Any]) -> float:
    """The fastest of some calls: a price is that of an undisturbed machine."""
    call()
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def by_limbs(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b modulo 2^64: signed limbs of 22 bits, whose products add up exactly in float64."""
    parts = [_limbs(x) for x in (a, b)]
    out = torch.zeros(a.shape[0], b.shape[1], dtype=torch.int64)
    for i in range(3):
        for j in range(3 - i):
            out += (parts[0][i] @ parts[1][j]).to(torch.int64) << (22 * (i + j))
    return out


def _limbs(x: torch.Tensor) -> list[torch.Tensor]:
    limbs = []
    for _ in range(3):
        low = ((x + (1 << 21)) & ((1 << 22) - 1)) - (1 << 21)
        limbs.append(low.to(torch.float64))
        x = (x - low) >> 22
    return limbs


def measured() -> dict[str, dict[str, float]]:
    """Seconds of one product and of one elementwise operation, by width."""
    torch.set_num_threads(1)
    product, element = {}, {}
    for width, kind in TYPES.items():
        a = torch.randint(-(2**20), 2**20, (TOKENS, WIDTH), dtype=kind)
        b = torch.randint(-(2**20), 2**20, (WIDTH, WIDTH), dtype=kind)
        x = torch.randint(-(2**20), 2**20, (ELEMENTS,), dtype=kind)
        ways = [lambda a=a, b=b: a @ b]
        if width == 64:
            if not torch.equal(by_limbs(a, b), a @ b):
                raise SystemExit("limb products differ from integer products")
            ways.append(lambda a=a, b=b: by_limbs(a, b))
        product[str(width)] = min(map(seconds, ways)) / (TOKENS * WIDTH * WIDTH)
        element[str(width)] = seconds(lambda x=x: x * x + x) / (2 * ELEMENTS)
    for prices in (product, element):
        prices["128"] = LIMBS * prices["64"]
    return {"product": product, "element": element}


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(table.__file__).with_name(table.PRICES_FILE))
    found = {k: {w: float(f"{s:.4g}") for w, s in v.items()} for k, v in measured().items()}
    out = parser.parse_args().out
    here = machine()
    text = f"{here['processor']} ({', '.join(here['vectors'][-1:])}), 1 thread"
    out.write_text(json.dumps({**found, "machine": text, "date": today()}) + "\n")


if __name__ == "__main__":
    main()
