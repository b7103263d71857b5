"""`python -m fuzz [--seconds S] [--seed N] [--target NAME]`: exits 1 at a finding and keeps the input."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from rich.console import Console

from fuzz.mutate import mutate
from fuzz.targets import Target, targets

SLOW_S = 2.0


def finding(target: Target, data: bytes) -> str | None:
    """What is wrong with how the reader takes the bytes: an exception it may not raise, or a long time."""
    start = time.perf_counter()
    try:
        target.read(data)
    except target.refusals:
        pass
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    spent = time.perf_counter() - start
    return f"took {spent:.1f} s" if spent > SLOW_S else None


def fuzz(target: Target, seconds: float, rng: random.Random) -> tuple[int, str | None, bytes]:
    """Number of inputs tried, the finding or None, and the last input."""
    for seed in target.seeds:
        target.read(seed)  # an example that is refused would make the run worthless
    corpus, tried = list(target.seeds), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = target.damage(rng.choice(corpus), rng)
        if target.repair and rng.random() < 0.8:
            data = target.repair(data)
        tried += 1
        if (what := finding(target, data)) is not None:
            return tried, what, data
        if target.damage is mutate and len(data) < 4096 and rng.random() < 0.01:
            corpus = [*target.seeds, *corpus[-64:], data]
    return tried, None, b""


def main() -> None:
    """Runs every target for its share of the time."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--target", choices=[t.name for t in targets()])
    options, console = parser.parse_args(), Console()
    chosen = [t for t in targets() if options.target in (None, t.name)]
    for target in chosen:
        tried, what, data = fuzz(target, options.seconds / len(chosen), random.Random(options.seed))
        console.print(f"{target.name}: {tried} inputs, seed {options.seed}: {what or 'nothing found'}")
        if what:
            path = Path("out") / f"fuzz-{target.name}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            raise SystemExit(f"the input stands in {path}")


if __name__ == "__main__":
    main()
