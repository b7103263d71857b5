"""What a plan costs, before anybody encrypts anything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cipherformer.kernels.bootstrap import prepare
from cipherformer.kernels.count import Ledger, Operation, refresh_ledger
from cipherformer.plan.signature import Signature
from cipherformer.plan.weights import MAX_WEIGHT_BYTES, plan_weights
from cipherformer.targets.bootstrap import BootstrapSet
from cipherformer.targets.ckks import CkksTarget
from cipherformer.targets.prices import PriceTable, Work, work_of

if TYPE_CHECKING:
    from cipherformer.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted cost of one query.

    Args:
        seconds: on the server.
        by_step: the same by step name.
        by_primitive: the same by primitive.
        by_work: the same by (step, primitive).
        key_bytes: evaluation keys in the server's memory.
        key_upload_bytes: the same as sent (one half of each key travels as a seed).
        plan_bytes: encoded diagonals in the server's memory; see `plan.weights`.
        bytes_up, bytes_down: ciphertexts of a query and an answer.
    """

    seconds: float
    by_step: dict[str, float]
    by_primitive: dict[str, float]
    by_work: dict[tuple[str, str], float]
    key_bytes: int
    key_upload_bytes: int
    plan_bytes: int
    bytes_up: int
    bytes_down: int


def seconds_of(
    ledger: Ledger,
    target: CkksTarget,
    prices: PriceTable,
    threads: int,
    bootstrap: BootstrapSet | None = None,
    expansions: Mapping[str, Work] | None = None,
) -> dict[tuple[str, str], float]:
    """Predicted seconds by (step, primitive); a refresh counts as the primitives
    inside, and `expansions` of compact weights with their matrix."""
    out: defaultdict[tuple[str, str], float] = defaultdict(float)
    merged = _merged_rescales(ledger)
    for op, count in ledger.counts.items():
        if op.primitive == "rescale":
            count -= min(count, merged[op.step, op.level])
        if op.primitive == "bootstrap" and bootstrap is not None:
            for inner, times in refresh_ledger(bootstrap, op.values).counts.items():
                out[op.step, inner.primitive] += _seconds(inner, target, prices, threads) * times * count
        else:
            out[op.step, op.primitive] += _seconds(op, target, prices, threads) * count
    for step, work in (expansions or {}).items():
        out[step, "ct-pt matrix"] += prices.seconds(work, target.log_n, threads)
    return dict(out)


def _merged_rescales(ledger: Ledger) -> Counter[tuple[str, int]]:
    """Rescalings that cost nothing by (step, level), as they are one with a key switch's division by P: after
    products, and after a matrix that is not summed with others."""
    rescales: Counter[tuple[str, int]] = Counter()
    switched: Counter[tuple[str, int]] = Counter()
    matrices: Counter[tuple[str, int]] = Counter()
    for op, count in ledger.counts.items():
        kind = {"rescale": rescales, "ct-ct product": switched, "ct-pt matrix": matrices}.get(op.primitive)
        if kind is not None:
            kind[op.step, op.level] += count
    alone = Counter({key: n for key, n in matrices.items() if n <= rescales[key]})
    return switched + alone


def _seconds(op: Operation, target: CkksTarget, prices: PriceTable, threads: int) -> float:
    work = work_of(op, len(target.special_moduli), target.digit_size, target.log_n)
    return prices.seconds(work, target.log_n, threads)


def refresh_seconds(bootstrap: BootstrapSet, values: int, prices: PriceTable, threads: int) -> float:
    """Predicted seconds of one bootstrapping call, from the operations inside."""
    ledger = refresh_ledger(bootstrap, values)
    return sum(seconds_of(ledger, bootstrap.target(), prices, threads).values())


def key_bytes(signature: Signature) -> int:
    """Evaluation keys of one client in memory."""
    return sum(_key_bytes(name, level, signature.target) for name, level in signature.key_levels.items())


def ledger_key_bytes(ledger: Ledger, target: CkksTarget) -> int:
    """The same from what a run counted, before there is a signature."""
    levels = [*ledger.rotations.values(), ledger.relinearise, ledger.conjugate]
    raised = [_key_bytes(name, ledger.raised, target) for name in ("decapsulate",) if ledger.raised >= 0]
    return sum(target.key_bytes(level) for level in levels if level >= 0) + sum(raised)


def _key_bytes(name: str, level: int, target: CkksTarget) -> int:
    """A key of encapsulation has one digit and one special prime."""
    if name.endswith("capsulate"):
        return 2 * (level + 2) * (8 << target.log_n)
    return target.key_bytes(level)


def refresh_bytes(bootstrap: BootstrapSet | None) -> int:
    """Encoded transforms of bootstrapping in the server's memory: 2 x period residues a limb over QP."""
    if bootstrap is None:
        return 0
    ready, special = prepare(bootstrap), len(bootstrap.special_bits)
    levels = [bootstrap.input_level - i for i in range(len(ready.to_coefficients))]
    levels += [ready.top - i for i in range(len(ready.to_slots))]
    transforms = (*ready.to_coefficients, *ready.to_slots)
    return sum(
        (level + 1 + special) * t.diagonals.size * 2 * 8 for level, t in zip(levels, transforms, strict=True)
    )


def estimate(
    plan: Plan,
    prices: PriceTable | None = None,
    threads: int = 2,
    max_weight_bytes: int = MAX_WEIGHT_BYTES,
) -> Estimate:
    """Predict a plan's cost from a price table (the package's, if none is given)."""
    t = plan.target
    weights = plan_weights(plan.steps, plan.transforms, t, max_weight_bytes)
    times = seconds_of(
        plan.ledger, t, prices or PriceTable.default(), threads, plan.bootstrap, weights.expansions
    )
    by_step: defaultdict[str, float] = defaultdict(float)
    by_primitive: defaultdict[str, float] = defaultdict(float)
    for (step, primitive), seconds in times.items():
        by_step[step] += seconds
        by_primitive[primitive] += seconds
    keys = key_bytes(plan.signature)
    return Estimate(
        seconds=sum(times.values()),
        by_step=dict(by_step),
        by_primitive=dict(by_primitive),
        by_work=times,
        key_bytes=keys,
        key_upload_bytes=keys // 2,
        plan_bytes=weights.held_bytes + refresh_bytes(plan.bootstrap),
        bytes_up=sum(t.ciphertext_bytes(i.level, seeded=True) for i in plan.signature.inputs),
        bytes_down=sum(t.ciphertext_bytes(o.level) for o in plan.signature.outputs),
    )


def _by_input(plan: Plan, cost: Estimate) -> dict[str, Any]:
    """Of a plan that takes batches."""
    if plan.batch == 1:
        return {}
    return {"inputs": plan.batch, "predicted_seconds_per_input": cost.seconds / plan.batch}


def summarise(plan: Plan, threads: int = 2) -> dict[str, Any]:
    """What people ask of a plan first, as JSON values: levels, keys, security, seconds, memory, bytes."""
    cost = estimate(plan, threads=threads)
    t = plan.target
    operations: Counter[str] = Counter()
    for op, count in plan.ledger.counts.items():
        operations[op.primitive] += count
    return {
        "model": plan.name,
        "ring": f"N = 2^{t.log_n}",
        "primes": f"{len(t.moduli)} + {len(t.special_moduli)} special, {t.digits(t.levels)} digits",
        "security_bits": t.security_bits,
        "log_qp": round(t.log_qp, 1),
        "levels": plan.levels,
        "bootstrap": plan.bootstrap.name if plan.bootstrap else "",
        "bootstraps": operations["bootstrap"],
        "rotations": sum(
            count * (op.babies + op.giants + (op.primitive == "rotation"))
            for op, count in plan.ledger.counts.items()
        ),
        "keys": len(plan.signature.keys),
        "predicted_seconds": cost.seconds,
        **_by_input(plan, cost),
        "predicted_rms_error": plan.predicted_rms_error,
        "bytes_up": cost.bytes_up,
        "bytes_down": cost.bytes_down,
        "key_bytes": cost.key_upload_bytes,
        "memory_bytes": cost.key_bytes + cost.plan_bytes,
        "operations": dict(operations),
        "refresh": {s.name: f"{s.origin}: {s.reason}" for s in plan.steps if s.kernel == "refresh"},
    }
