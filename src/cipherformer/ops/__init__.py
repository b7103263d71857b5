"""The op table: `OPS` maps a name to its `Primitive` or `Composite`."""

from collections.abc import Mapping
from types import MappingProxyType

from cipherformer.ops import activation, arith, attention, linear, norm, poly, pool, ring, shape
from cipherformer.ops.spec import Builder, Composite, ErrorBudget, Lowering, Op, Primitive

OPS: Mapping[str, Op] = MappingProxyType(
    {
        op.name: op
        for family in (arith, shape, linear, pool, poly, ring, activation, attention, norm)
        for op in family.OPS
    }
)
"""Every op that a graph may contain."""

__all__ = ["OPS", "Builder", "Composite", "ErrorBudget", "Lowering", "Op", "Primitive"]
