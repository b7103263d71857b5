"""Where the seconds of a query went, in the categories of Zimerman et al. (arXiv 2410.09457, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cipherformer.backends.ckks.trace import TraceRecord
from cipherformer.kernels.step import Step

CATEGORIES = (
    "ct-pt product",
    "ct-ct product",
    "bootstrapping",
    "attention normaliser",
    "activation",
    "add, rescale, repack",
)

_BY_KERNEL = {
    "refresh": "bootstrapping",
    "reciprocal": "attention normaliser",
    "polynomial": "activation",
    "outer": "ct-ct product",
    "contract": "ct-ct product",
    "mul": "ct-ct product",
    "power": "ct-ct product",
    "pairs": "ct-ct product",
    "scores": "ct-ct product",
    "attended": "ct-ct product",
}
_SMALL = ("add", "rescale", "ct-pt add")
_MOVES = ("half", "repack", "skew", "zeroed")


def categories(steps: Sequence[Step], trace: Iterable[TraceRecord]) -> dict[str, float]:
    """Seconds by category.

    A normaliser is a reciprocal and the sum that it inverts; a matrix that only moves values is a repack;
    the maps that spread the operands of a product belong to the product.
    """
    divisors = {name for s in steps if s.kernel == "reciprocal" for name in s.inputs}
    category: dict[str, str] = {}
    for s in steps:
        if s.name.removesuffix(".fresh") in divisors and s.kernel != "refresh":
            category[s.name] = "attention normaliser"
        elif s.name.rpartition(".")[2] in _MOVES:
            category[s.name] = "add, rescale, repack"
        else:
            category[s.name] = _BY_KERNEL.get(s.kernel, "ct-pt product")
    out = dict.fromkeys(CATEGORIES, 0.0)
    for record in trace:
        name = category.get(record.node, "add, rescale, repack")
        small = record.primitive in _SMALL and name in ("ct-pt product", "ct-ct product")
        out["add, rescale, repack" if small else name] += record.seconds
    return out
