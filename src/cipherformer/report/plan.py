"""What a plan costs and does, for people and for records."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cipherformer.kernels.step import Step
from cipherformer.plan.estimate import estimate
from cipherformer.plan.plan import Plan
from cipherformer.report.table import Table


def plan_summary(plan: Plan, threads: int = 2) -> dict[str, Any]:
    """A plan in figures: depth, keys, security, and what is predicted for one query.

    Args:
        plan: any plan.
        threads: of the server, for the predicted seconds.
    """
    cost = estimate(plan, threads=threads)
    target, operations = plan.target, Counter[str]()
    for operation, count in plan.ledger.counts.items():
        operations[operation.primitive] += count
    return {
        "fingerprint": plan.fingerprint,
        "model": plan.name,
        "levels": plan.levels,
        "rotations": operations["rotation"] + sum(_rotations(plan)),
        "keys": len(plan.signature.keys),
        "security_bits": target.security_bits,
        "log_n": target.log_n,
        "log_qp": round(target.log_qp, 1),
        "digit_size": target.digit_size,
        "predicted_seconds": cost.seconds,
        "predicted_rms_error": plan.predicted_rms_error,
        "bytes_up": cost.bytes_up,
        "bytes_down": cost.bytes_down,
        "key_bytes": cost.key_upload_bytes,
        "memory_bytes": cost.key_bytes + cost.plan_bytes,
        "operations": dict(sorted(operations.items())),
    }


def steps_table(plan: Plan) -> Table:
    """The plan's instructions, one a row."""
    rows = [
        (s.name, s.kernel, ", ".join(s.inputs), str(s.level_in), str(s.level), _detail(s), s.origin)
        for s in plan.steps
    ]
    columns = ("value", "kernel", "of", ">from level", ">to level", "detail", "module")
    return Table(f"Plan {plan.name}: {len(plan.steps)} instructions", columns, tuple(rows))


def _rotations(plan: Plan) -> list[int]:
    """Rotations inside the linear maps."""
    return [(o.babies + o.giants) * count for o, count in plan.ledger.counts.items()]


def _detail(step: Step) -> str:
    if step.terms:
        return f"{len(step.terms)} terms, {sum(len(t.pre) + len(t.post) for t in step.terms)} rotations"
    if step.coefficients:
        return f"degree {len(step.coefficients) - 1} on [{step.interval[0]:.3g}, {step.interval[1]:.3g}]"
    if step.relaxations:
        return f"{len(step.relaxations)} iterations"
    if step.exponent:
        return f"exponent {step.exponent}"
    return f"{len(step.sums)} rotations" if step.sums else ""
