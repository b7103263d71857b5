"""The greedy placements: one walk over the graph, all values in one ring."""

from __future__ import annotations

from collections.abc import Mapping

from cipherformer.approx.fourier import RESULT_BITS
from cipherformer.graph import Graph, Node
from cipherformer.passes.placement import MOVES, PRODUCTS, Placement, magnitude
from cipherformer.passes.precision import kept_bits
from cipherformer.passes.versions import Encodings, TooLargeError, Versions
from cipherformer.targets.ring import RingTarget, Truncation


class Greedy:
    """One walk over the graph with the policy `every`, `lazy` or `hoisted`."""

    def __init__(self, graph: Graph, target: RingTarget, policy: str) -> None:
        self.graph, self.target, self.policy = graph, target, policy
        self.new = Versions(graph, target)
        self.bits, self.build = self.new.bits, self.new.build
        self._encodings = Encodings(graph, target)
        self._wanted = kept_bits(graph)
        self._floor: dict[str, int] = {}

    def run(self) -> Placement:
        """The placement.

        Raises:
            LimitError: a value does not fit.
        """
        names: dict[str, str] = {}
        for node in self.graph.nodes:
            self.build.origin = node.origin
            if node.op == "constant":
                names[node.name] = node.name  # encoded where it is used
                continue
            name = self._placed(node, [names[i] for i in node.inputs])
            names[node.name] = name
            wanted = max(self.target.frac_bits, self._wanted.get(node.name, 0))
            self._floor[name] = max(wanted, self._floor.get(name, 0))
            if self.policy == "every" and node.op in (*PRODUCTS, "fourier"):
                names[node.name] = self._truncated(name, self._floor[name])
        outputs = {o: self._output(names[o]) for o in self.graph.outputs}
        return self.new.finish(names, outputs, self.policy)

    def _output(self, name: str) -> str:
        return self._encoded(name, self._encodings.constant(name)) if name in self.graph.constants else name

    def _encoded(self, name: str, bits: int) -> str:
        return self.new.encoded(name, bits, self.target.width)

    def _placed(self, node: Node, inputs: list[str]) -> str:
        if node.op == "keep":
            return inputs[0]
        if node.op == "input":
            return self._append(node, [], self.target.frac_bits)
        if node.op == "select":
            return self._append(node, inputs, self._encodings.table(node))
        if node.op == "fourier":  # the integers' table has an entry for each value of the operand
            return self._append(node, [self._truncated(inputs[0], self.target.frac_bits)], RESULT_BITS)
        if node.op in PRODUCTS:
            return self._product(node, inputs)
        return self._sum(node, inputs)

    def _append(self, node: Node, inputs: list[str], bits: int) -> str:
        return self.new.append(node, inputs, bits, self.target.width)

    # --- truncation ---

    def _truncated(self, name: str, bits: int) -> str:
        """A version with at most so many fraction bits, shared by all who ask."""
        if self.bits[name] <= bits:
            return name
        if self._source(name) != name:
            return self.new.moved(name, self._truncated(self.build.node(name).inputs[0], bits))
        return self.new.in_ring(self.new.truncated(name, bits), self.target.width)

    def _source(self, name: str) -> str:
        """Where a truncation of this value is best placed: itself, or what it was moved from."""
        if self.policy != "hoisted":
            return name
        here = name
        while (node := self.build.node(here)).op in MOVES:
            here = node.inputs[0]
        return here if self.build.node(here).type.size <= self.build.node(name).type.size else name

    def _price(self, name: str, bits: int) -> int:
        """Elements that a truncation would cost now."""
        if self.bits[name] <= bits:
            return 0
        source = self._source(name)
        dropped = self.bits[source] - bits if self.target.truncation is Truncation.TRUNCATE_REDUCE else 0
        known = self.new.has("trunc", source, bits, self.target.width - dropped)
        return 0 if known else self.build.node(source).type.size

    # --- operations ---

    def _product(self, node: Node, inputs: list[str]) -> str:
        """Truncate the cheapest operands that make it fit: to the bits asked for, else to the least."""
        public = [name in self.graph.constants for name in inputs[:2]]
        fixed = sum(self._encodings.constant(n) for n, p in zip(inputs, public, strict=False) if p)
        secret = list(dict.fromkeys(n for n, p in zip(inputs[:2], public, strict=True) if not p))
        least = self.target.frac_bits
        room = self.target.room - magnitude(node) - fixed
        for floors in ({n: self._floor.get(n, least) for n in secret}, dict.fromkeys(secret, least)):
            options = [[], *([n] for n in secret), secret]
            good = []
            for option in options:
                bits = {n: min(self.bits[n], floors[n]) if n in option else self.bits[n] for n in secret}
                if sum(bits[n] for n in inputs[:2] if n in bits) <= room:
                    good.append((sum(self._price(n, floors[n]) for n in option), len(good), option))
            if good:
                option = min(good)[2]
                chosen = {n: self._truncated(n, floors[n]) if n in option else n for n in secret}
                return self._finish_product(node, inputs, chosen)
        least_bits = fixed + sum(min(self.bits[n], least) for n in inputs[:2] if n in secret)
        raise TooLargeError(node, least_bits, self.target)

    def _finish_product(self, node: Node, inputs: list[str], chosen: Mapping[str, str]) -> str:
        operands = [chosen.get(n) or self._encoded(n, self._encodings.constant(n)) for n in inputs[:2]]
        bits = sum(self.bits[n] for n in operands)
        if len(inputs) == 3:
            operands.append(self._encoded(inputs[2], bits))
        return self._append(node, operands, bits)

    def _sum(self, node: Node, inputs: list[str]) -> str:
        """Sums and moves: all operands with equal fraction bits, as many as fit."""
        secret = [n for n in inputs if n not in self.graph.constants]
        m = max([magnitude(node), *(magnitude(self.build.node(n)) for n in secret)])
        most = self.target.room - m
        bits = min(max(self.bits[n] for n in secret), most)
        if any(self.bits[n] > bits for n in secret):  # something must be truncated: then as far as allowed
            bits = min(bits, max(self._floor.get(n, self.target.frac_bits) for n in secret))
        if bits < min(self.target.frac_bits, *(self.bits[n] for n in secret)):
            least = min(self.target.frac_bits, *(self.bits[n] for n in secret))
            raise TooLargeError(node, least, self.target)
        operands = [
            self._encoded(n, bits) if n in self.graph.constants else self._aligned(n, bits) for n in inputs
        ]
        return self._append(node, operands, bits)

    def _aligned(self, name: str, bits: int) -> str:
        if self.bits[name] >= bits:
            return self._truncated(name, bits)
        return self.new.lifted(name, bits)
