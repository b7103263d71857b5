"""What a run in a ring is accountable for: headroom of every value, overflows, carriers used."""

from __future__ import annotations

from dataclasses import dataclass, field

from cipherformer.errors import LimitError
from cipherformer.graph import Node
from cipherformer.passes.placement import Placement


@dataclass(slots=True)
class Books:
    """The books of one run.

    Args:
        placement: that runs.
        wrap: values that leave their ring wrap around in place of an error.
        headroom: for each secret value, bits between its largest integer and its ring's bound.
        overflows: values that left their ring, in order.
        carriers: operations by the arithmetic that they took.
    """

    placement: Placement
    wrap: bool = False
    headroom: dict[str, int] = field(default_factory=dict)
    overflows: list[str] = field(default_factory=list)
    carriers: dict[str, int] = field(default_factory=dict)

    def fits(self, node: Node, size: int) -> bool:
        """Books the bit length of a secret value's largest integer; False: it must wrap around.

        Raises:
            LimitError: it leaves its ring, and values may not wrap.
        """
        width = self.placement.widths[node.name]
        self.headroom[node.name] = width - 1 - size
        if size < width:
            return True
        if not self.wrap:
            bits = self.placement.frac_bits[node.name]
            raise LimitError(
                f"a value overflows the ring of {width} bits",
                where=node.origin or node.name,
                why=f"{node.op} {node.name} reaches 2^{size - bits} with {bits} fraction bits",
                fix=f"the smallest ring that would do has {size + 1} bits; calibrate on inputs like this one",
            )
        self.overflows.append(node.name)
        return False

    def readable(self, node: Node, size: int) -> None:
        """Books the operand of a re-extension or a narrowing.

        Raises:
            LimitError: a re-extension cannot read its sign, and values may not wrap.
        """
        narrow = self.placement.widths[node.inputs[0]]
        if node.op == "narrow" or size < narrow - 1:
            return
        if not self.wrap:
            raise LimitError(
                f"a value is too large to leave the ring of {narrow} bits",
                where=node.origin or node.name,
                why=f"{node.inputs[0]} needs {size} bits; re-extension reads signs of at most {narrow - 2}",
                fix=f"a ring {size + 2 - narrow} bits wider would do; calibrate on inputs like this one",
            )
        self.overflows.append(node.name)

    def count(self, carrier: str) -> None:
        """One operation in an arithmetic."""
        self.carriers[carrier] = self.carriers.get(carrier, 0) + 1
