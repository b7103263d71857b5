"""Targets and steps as JSON values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import log2
from typing import Any

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.layout import Layout
from cipherformer.kernels.step import Diagonals, Step, TermStep
from cipherformer.targets.bootstrap import BootstrapSet
from cipherformer.targets.ckks import CkksTarget

MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    CompileError,  # layouts and graphs check themselves
)
"""What reading a document of another form raises."""


def target_to_dict(t: CkksTarget) -> dict[str, Any]:
    """A target as JSON values; primes are written in full."""
    return asdict(t)


def target_from_dict(d: Mapping[str, Any]) -> CkksTarget:
    """The target; its numbers are checked where the engine's parameters are made from it."""
    return CkksTarget(
        log_n=int(d["log_n"]),
        moduli=tuple(int(q) for q in d["moduli"]),
        special_moduli=tuple(int(q) for q in d["special_moduli"]),
        digit_size=int(d["digit_size"]),
        log_scale=int(d["log_scale"]),
        insecure=bool(d["insecure"]),
        hamming_weight=int(d["hamming_weight"]),
    )


def bootstrap_to_dict(s: BootstrapSet | None) -> dict[str, Any] | None:
    """A bootstrapping set as JSON values."""
    return None if s is None else asdict(s)


def bootstrap_from_dict(d: Mapping[str, Any] | None) -> BootstrapSet | None:
    """The set. A field that is a list in JSON is a tuple again."""
    if d is None:
        return None
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
    return BootstrapSet(**values)


def step_to_dict(s: Step) -> dict[str, Any]:
    """A step as JSON values."""
    return asdict(s)


def step_from_dict(d: Mapping[str, Any]) -> Step:
    """The step."""
    layout = d["layout"]
    return Step(
        name=str(d["name"]),
        kernel=str(d["kernel"]),
        inputs=tuple(str(i) for i in d["inputs"]),
        layout=Layout(
            tuple(int(n) for n in layout["shape"]),
            tuple((int(a), int(k)) for a, k in layout["bits"]),
            bool(layout["zero_padding"]),
        ),
        origin=str(d["origin"]),
        terms=tuple(
            TermStep(
                int(t["source"]),
                tuple(int(r) for r in t["pre"]),
                str(t["transform"]),
                tuple(int(r) for r in t["post"]),
            )
            for t in d["terms"]
        ),
        bias=str(d["bias"]),
        factor=float(d["factor"]),
        sums=tuple(int(r) for r in d["sums"]),
        left=tuple(tuple(str(k) for k in stage) for stage in d["left"]),
        right=tuple(tuple(str(k) for k in stage) for stage in d["right"]),
        exponent=int(d["exponent"]),
        coefficients=tuple(float(c) for c in d["coefficients"]),
        interval=(float(d["interval"][0]), float(d["interval"][1])),
        relaxations=tuple(float(k) for k in d["relaxations"]),
        bound=float(d["bound"]),
        bounds=tuple(float(b) for b in d["bounds"]),
        gains=tuple(int(g) for g in d["gains"]),
        index=int(d["index"]),
        stack=int(d["stack"]),
        diagonals=_diagonals(d["diagonals"]),
        reason=str(d["reason"]),
        level_in=int(d["level_in"]),
        level=int(d["level"]),
        scale=float(d["scale"]),
    )


def _diagonals(d: Mapping[str, Any] | None) -> Diagonals | None:
    return None if d is None else Diagonals(**{k: int(v) for k, v in d.items()})


def step_line(s: Step, transforms: Mapping[str, Transform]) -> str:
    """A step as one stable line of text."""
    details = []
    for t in s.terms:
        if t.transform and not s.stack:
            m = transforms[t.transform]
            shape = f"{len(m.rotations)}x{m.diagonals.shape[1]}"
            details.append(f"{s.inputs[t.source]}*[{shape}, {len(m.babies)}+{len(m.giants)} steps]")
        if t.pre or t.post:
            details.append(f"sum{list(t.pre + t.post)}")
    for operand, stages in zip(s.inputs, (s.left, s.right), strict=False):
        sizes = [f"{len(keys)}x{max(len(transforms[k].rotations) for k in keys)}" for keys in stages]
        if sizes:
            details.append(f"{operand} spread[{', '.join(sizes)}]")
    if s.sums and not s.stack:
        details.append(f"sum{list(s.sums)}")
    if s.kernel == "polynomial":
        details.append(f"degree {len(s.coefficients) - 1} on [{s.interval[0]:.4g}, {s.interval[1]:.4g}]")
    if s.kernel == "reciprocal":
        details.append(f"{len(s.relaxations)} steps on [{s.interval[0]:.4g}, {s.interval[1]:.4g}]")
    if s.kernel == "refresh":
        details.append(f"|x| <= {', '.join(f'{b:.4g}' for b in s.bounds)}: {s.reason}")
    if s.kernel == "part":
        details.append(f"[{s.index}]")
    if s.kernel == "power":
        details.append(f"^{s.exponent}")
    if s.stack:
        details.append(f"[{s.stack} ciphertexts]")
    scale = f" 2^{log2(s.scale):.2f}" if s.scale > 0 else ""
    return (
        f"{s.level_in:>2} -> {s.level:>2}{scale}  {s.name} = {s.kernel}({', '.join(s.inputs)})"
        f" {' '.join(details)}".rstrip()
        + f"  <{s.layout}>"
        + (f"  @ {s.origin}" if s.origin else "")
    )
