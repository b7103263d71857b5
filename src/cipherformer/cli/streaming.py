"""`emulate --stream`: a folder's model, one block in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cipherformer.backends.stream import emulate_streamed
from cipherformer.cli.output import print_table, progress_bar
from cipherformer.errors import DataError
from cipherformer.report import streamed as report
from cipherformer.targets.ring import RingTarget, Truncation


def run(
    console: Console,
    folder: Path,
    tokens: NDArray[Any] | None,
    length: int,
    method: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Run, print and return the record.

    Args:
        console: to print on.
        folder: with a configuration, and weights unless they are to be random.
        tokens: rows of token ids, of which the first is taken; None for random activations.
        length: of the text.
        method: functions, see `passes.ring.to_ring`.
        options: of the command.

    Raises:
        DataError: not a folder.
    """
    if not folder.is_dir():
        raise DataError("--stream takes a folder of a Hugging Face model", where=str(folder))
    from cipherformer.capture.streamed import streamed

    truncation = Truncation(options["truncation"] or "exact")
    target = RingTarget(options["ring_bits"], options["frac_bits"], options["guard_bits"], truncation)
    model = streamed(folder, tokens=length)
    start = model.start(None if tokens is None else np.asarray(tokens, dtype=np.int64).reshape(-1)[:length])
    if tokens is None:
        console.print("no --data: random inputs, which show costs and rounding but not accuracy")
    with progress_bar(console, counted=False) as progress:
        task = progress.add_task("emulating block by block", total=None)
        result = emulate_streamed(
            model.blocks(),
            start,
            target,
            policy=options["policy"],
            method=method,
            on_block=lambda _: progress.advance(task),
        )
    print_table(console, report.blocks_table(result))
    return {"model": str(folder), "tokens": length, **report.record(result)}
