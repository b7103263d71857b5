"""Tables as data: built here, shown by the command line, or written as Markdown into the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cipherformer.report.schema import DemoRecord

MOST_PRIMITIVES = 7
_LABELS = {
    "bytes_up": "sent for one query",
    "bytes_down": "received for one query",
    "key_bytes": "size of the evaluation keys",
    "memory_bytes": "keys and weights in the server's memory",
    "predicted_seconds": "predicted time of one query",
    "inputs": "inputs in one query",
    "predicted_seconds_per_input": "predicted time of one input",
    "predicted_rms_error": "predicted RMS error of the answer",
    "keys": "evaluation keys",
    "log_qp": "log2(QP)",
    "log_n": "log2(N)",
    "security_bits": "bits of security",
}
INPUT_LAYER = "(input)"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Args:
        title: shown above.
        columns: headings; one that begins with `>` is aligned to the right.
        rows: as many texts as columns.
        footer: a last row, or nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown."""
        head = [name.removeprefix(">") for name in self.columns]
        rule = ["--:" if name.startswith(">") else "---" for name in self.columns]
        rows = [head, rule, *self.rows, *([self.footer] if self.footer else [])]
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def show_bytes(count: float) -> str:
    """A size for people: `1.5 GB` (powers of ten)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.{2 if count < 10 * size else 1}f} {unit}"
    return f"{count:.0f} B"


def show_seconds(seconds: float) -> str:
    """A duration for people: `12 us`, `3.4 ms`, `5.6 s`, `2 min 5 s`."""
    if seconds >= 120:
        return f"{int(seconds // 60)} min {seconds % 60:.0f} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def images_table(images: Sequence[Mapping[str, Any]]) -> Table:
    """Encrypted prediction, plaintext prediction and label of each image."""
    rows = [
        (
            str(item["index"]),
            str(item["encrypted"]),
            str(item["plaintext"]),
            str(item["label"]),
            "yes" if item["encrypted"] == item["plaintext"] else "NO",
            f"{item['max_error']:.1e}",
            show_seconds(item["seconds"]),
        )
        for item in images
    ]
    columns = (">image", ">encrypted", ">plaintext", ">label", "equal", ">largest error", ">time")
    return Table("Encrypted images", columns, tuple(rows))


def breakdown_table(breakdown: Sequence[Mapping[str, Any]]) -> Table:
    """Milliseconds for one image, a row per layer and a column per primitive, the most expensive first."""
    layers = list(dict.fromkeys(item["layer"] for item in breakdown))
    group = group_primitives(breakdown, MOST_PRIMITIVES)
    primitives = list(dict.fromkeys(group.values()))
    cells: dict[tuple[str, str], float] = {}
    for item in breakdown:
        key = (item["layer"], group[item["primitive"]])
        cells[key] = cells.get(key, 0.0) + item["seconds"]
    cost = {name: sum(cells.get((layer, name), 0.0) for layer in layers) for name in primitives}

    def row(name: str, values: Sequence[float]) -> tuple[str, ...]:
        return (name, *(f"{v * 1e3:.0f}" if v >= 5e-4 else "" for v in values), f"{sum(values) * 1e3:.0f}")

    rows = [row(layer or INPUT_LAYER, [cells.get((layer, p), 0.0) for p in primitives]) for layer in layers]
    columns = ("layer", *(f">{name}" for name in primitives), ">all")
    return Table(
        "Server time for one image (ms)", columns, tuple(rows), row("all", [cost[p] for p in primitives])
    )


def group_primitives(breakdown: Sequence[Mapping[str, Any]], most: int) -> dict[str, str]:
    """Primitives, the most expensive first, each with the name it is shown under: beyond `most`, `other`."""
    cost: dict[str, float] = {}
    for item in breakdown:
        cost[item["primitive"]] = cost.get(item["primitive"], 0.0) + item["seconds"]
    names = sorted(cost, key=lambda name: -cost[name])
    kept = len(names) if len(names) <= most else most - 1
    return {name: name if position < kept else "other" for position, name in enumerate(names)}


def demo_table(record: DemoRecord) -> Table:
    """The demonstration's figures, one a row."""
    rows = (
        ("accuracy, private network", f"{record.accuracy_private:.2%}"),
        ("accuracy, softmax and GELU", f"{record.accuracy_baseline:.2%}"),
        (f"encrypted = plaintext prediction, {len(record.images)} images", f"{record.agreement:.0%}"),
        ("largest logit error", f"{record.max_logit_error:.1e}"),
        ("precision", f"{record.precision_bits:.1f} bits"),
        ("time for one image", show_seconds(record.seconds_per_image)),
        (
            "of that on the server",
            f"{show_seconds(record.seconds_server_per_image)}, {record.threads} threads",
        ),
        ("security", f"{record.security_bits} bits"),
        ("sent, received for one image", f"{show_bytes(record.bytes_up)}, {show_bytes(record.bytes_down)}"),
        ("evaluation keys, sent once", show_bytes(record.key_bytes)),
        ("peak memory, client", show_bytes(record.peak_memory_client_bytes)),
        ("peak memory, server", show_bytes(record.peak_memory_server_bytes)),
        ("whole demonstration", show_seconds(record.seconds_total)),
    )
    return Table("Result", ("", ">value"), rows)


def summary_table(title: str, summary: Mapping[str, Any]) -> Table:
    """A plan's summary or any flat record: names with their values, sizes and times made readable."""
    rows = []
    for name, value in summary.items():
        if isinstance(value, Mapping):
            rows += [(f"{_words(name)}: {inner}", _show(inner, v)) for inner, v in value.items()]
        else:
            rows.append((_words(name), _show(name, value)))
    return Table(title, ("", ">value"), tuple(rows))


def _words(name: str) -> str:
    return _LABELS.get(name, name.removesuffix("_bytes").removesuffix("_s").replace("_", " "))


def _show(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if "bytes" in name:
        return show_bytes(value)
    if "seconds" in name or name.endswith("_s"):
        return show_seconds(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
