"""From a placed graph to protocol steps: widths of wires, who owns what, and rounds.

Backwards, each value gets the width that its readers need: a reader that computes modulo 2^n needs its
operands modulo 2^n, a truncation by t bits t more than its result. What would need more than 64 bits is
narrower, and is extended after the truncation. Then each node becomes one step or a few. The placement's own
changes of ring change no integer and are passed over: only its truncations count.

A constant is public if it is a scalar, binary or has equal entries: shapes of attention masks, divisors, and
what the approximations bring in. Any other constant is a weight and the server's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from types import MappingProxyType
from typing import Any

import numpy as np

from cipherformer.approx.fourier import IntegerWaves, integer_waves
from cipherformer.backends.integers import scaled
from cipherformer.backends.mpc2 import compare
from cipherformer.backends.mpc2.additive import on_shares
from cipherformer.backends.mpc2.narrow import Narrow, narrowed
from cipherformer.backends.mpc2.program import PRODUCTS, Program, Step
from cipherformer.backends.mpc2.protocols import opens
from cipherformer.backends.mpc2.ring import U64, WORD, Ring, encoded
from cipherformer.errors import LimitError
from cipherformer.graph import Graph, Node
from cipherformer.ops.spec import integer, numbers
from cipherformer.passes.placement import Placement, magnitude
from cipherformer.passes.ring_cost import public_numbers
from cipherformer.passes.widths import least_width, needed_widths, without_ring_changes
from cipherformer.targets.ring import Truncation

_RINGS = ("extend", "narrow")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program and the server's part.

    Args:
        program: that all three know.
        weights: integers of the `weight` steps, modulo 2^64 or small: the server's secret.
    """

    program: Program
    weights: Mapping[str, Ring | Narrow]


def compile_program(placement: Placement, widths: Mapping[str, int] = MappingProxyType({})) -> Compiled:
    """The protocol steps of a placed graph.

    They are on masked wires where it truncates by truncate-reduce, and on additive shares where truncations
    are probabilistic and stay in their ring.

    Args:
        placement: of the graph.
        widths: bits that inputs and outputs have at least, by name.

    Raises:
        LimitError: the ring is not that of 64 bits, truncations are of another kind, or a value does not
            leave the bit of headroom that extensions and truncations need.
    """
    if placement.target.width != WORD:
        raise LimitError(
            f"a ring of {placement.target.width} bits",
            why="the parties compute modulo 2^64",
            fix="place for 64",
        )
    if placement.target.truncation is Truncation.EXACT:
        raise LimitError("truncations to the nearest", fix="place with truncate-reduce or probabilistic ones")
    return _Compiler(placement, widths).run()


class _Compiler:
    """One walk over the graph."""

    def __init__(self, placement: Placement, widths: Mapping[str, int]) -> None:
        self.graph: Graph = without_ring_changes(placement.graph)
        self.bits = dict(placement.frac_bits)
        self.nodes = self.graph.by_name()
        self.open = public_numbers(self.graph)
        self.steps: dict[str, Step] = {}
        self.ready: dict[str, int] = {}
        self.public: dict[str, Ring] = {}
        self.weights: dict[str, Ring | Narrow] = {}
        self.asked = widths
        self.needed = needed_widths(self.graph, self.bits, widths)
        self.shares = placement.target.truncation is Truncation.PROBABILISTIC
        if self.shares:
            self.needed = dict.fromkeys(self.needed, WORD)
        self.wider: dict[str, str] = {}
        self.bit_of: dict[tuple[str, tuple[int, ...]], str] = {}

    def run(self) -> Compiled:
        for node in self.graph.nodes:
            if node.op == "constant":
                continue
            self._node(node)
        outputs = []
        for name in self.graph.outputs:
            least = max(self._least(self.nodes[name]), self.asked.get(name, 0))
            wire = self.steps[self._wire(name, least)]
            outputs.append(
                self._add(replace(wire, name=f"{name}.reveal", op="reveal", inputs=(wire.name,), attrs={}))
            )
        order = sorted(self.steps.values(), key=lambda s: (s.op != "weight", s.round))
        steps = tuple(replace(step, number=i) for i, step in enumerate(_live(order, outputs)))
        kept = {step.name for step in steps}
        weights = {name: value for name, value in self.weights.items() if name in kept}
        program = Program(steps, tuple(outputs), self.public, self.graph.name)
        return Compiled(on_shares(program) if self.shares else program, weights)

    # --- widths ---

    def _least(self, node: Node) -> int:
        """A sign and the bit that extensions need."""
        return least_width(node, self.bits)

    def _wire(self, name: str, width: int) -> str:
        """A wire with at least this width: the value's own, or an extension shared by all who need one."""
        step = self.steps[name]
        if step.width >= width:
            return name
        if name not in self.wider:
            attrs = {"narrow": step.width}
            wide = max(width, self.needed[name])
            made = replace(step, name=f"{name}.extend", op="extend", inputs=(name,), width=wide, attrs=attrs)
            self.wider[name] = self._add(made)
        return self.wider[name]

    # --- steps ---

    def _add(self, step: Step) -> str:
        before = max((self.ready[name] for name in step.inputs), default=0)
        at = -1 if step.op == "weight" else before
        self.steps[step.name] = replace(step, round=at)
        self.ready[step.name] = 0 if step.op == "weight" else before + opens(step)
        return step.name

    def _step(self, node: Node, op: str, inputs: list[str], width: int, **attrs: Any) -> str:
        kept = {**dict(node.attrs), **attrs} if op == node.op or node.op in PRODUCTS else attrs
        made = Step(
            node.name, op, tuple(inputs), node.type.shape, width, self.bits[node.name], kept, node.origin
        )
        return self._add(made)

    def _node(self, node: Node) -> None:
        width = self.needed[node.name]
        if node.op == "input":
            self._step(node, "input", [], width, magnitude=magnitude(node))
        elif node.op == "trunc":
            self._truncate(node, width)
        elif node.op in PRODUCTS:
            self._product(node, width)
        elif node.op == "select":
            self._compare(node)
        elif node.op == "fourier":
            self._fourier(node)
        else:
            self._linear(node, width)

    def _truncate(self, node: Node, width: int) -> None:
        """In the ring that the operand has: what is extended at all is extended behind the truncation."""
        name, bits = node.inputs[0], integer(node.attrs, "bits")
        wire = self.wider.get(name, name) if self.steps[name].width < width + bits else name
        self._step(node, "trunc", [wire], WORD if self.shares else self.steps[wire].width - bits)

    def _operand(self, name: str, width: int) -> str:
        return self._weight(name) if name in self.graph.constants else self._wire(name, width)

    def _weight(self, name: str) -> str:
        if name not in self.steps:
            self.weights[name] = narrowed(self._integers(name))
            shape = self.graph.constants[name].shape
            made = Step(
                name, "weight", (), shape, self.needed[name], self.bits[name], {}, self.nodes[name].origin
            )
            self._add(made)
        return name

    def _integers(self, name: str) -> Ring:
        return encoded(scaled(self.graph.constants[name], self.bits[name]))

    def _public(self, name: str) -> str:
        self.public[name] = self._integers(name)
        return name

    def _is_public(self, name: str) -> bool:
        return name in self.open

    def _linear(self, node: Node, width: int) -> None:
        if node.op in ("add", "sub") and any(map(self._is_public, node.inputs)):
            self._shift(node, width)
            return
        inputs = [self._operand(name, width) for name in node.inputs]
        self._step(node, node.op, inputs, min(self.steps[name].width for name in inputs))

    def _shift(self, node: Node, width: int) -> None:
        """x + c, x - c, or c - x as c + (-x)."""
        a, b = node.inputs
        constant = a if self._is_public(a) else b
        secret = b if constant == a else a
        narrow = secret in self.steps and self.steps[secret].width >= self._least(node)
        wire = (
            secret if narrow else self._operand(secret, width)
        )  # extended behind it, where comparisons do not wait
        addend = self._public(constant)
        if node.op == "sub" and constant == b:
            addend = f"{constant}.neg"
            self.public[addend] = U64(0) - self.public[constant]
        elif node.op == "sub":
            negated = replace(self.steps[wire], name=f"{node.name}.neg", op="neg", inputs=(wire,), attrs={})
            wire = self._add(negated)
        self._step(node, "shift", [wire], self.steps[wire].width, addend=addend)

    def _product(self, node: Node, width: int) -> None:
        a, b = node.inputs[:2]
        bias = node.inputs[2] if len(node.inputs) == 3 else ""
        if bias:
            self._with_bias(node, bias, width)
            return
        if self._is_public(a) or self._is_public(b):
            left = self._is_public(a)
            wire = self._wire(b if left else a, width)
            factor = self._public(a if left else b)
            attrs = {"factor": factor, "left": left, "product": node.op}
            self._step(node, "scale", [wire], self.steps[wire].width, **attrs)
            return
        if node.op == "mul" and self._gate(node, width):
            return
        weighted = [name in self.graph.constants for name in (a, b)]
        inputs = [self._operand(name, width) for name in (a, b)]
        if any(weighted):
            self._step(node, "weighted", inputs, width, product=node.op, left=weighted[0])
        else:
            self._step(node, "product", inputs, width, product=node.op)

    def _with_bias(self, node: Node, bias: str, width: int) -> None:
        """The bias is added to the opened product, as a wire of its own."""
        name = f"{node.name}.product"
        bare = node.with_(name=name, inputs=node.inputs[:2])
        self.nodes[name], self.bits[name] = bare, self.bits[node.name]
        self.needed[name] = width
        self._product(bare, width)
        addend = bias
        if node.op == "conv2d" and not self._is_public(bias):
            moved = replace(
                self.steps[self._weight(bias)], name=f"{bias}.column", op="reshape", inputs=(bias,),
                shape=(self.graph.constants[bias].shape[0], 1, 1),
                attrs={"shape": (self.graph.constants[bias].shape[0], 1, 1)},
            )  # fmt: skip
            addend = moved.name if moved.name in self.steps else self._add(moved)
        if self._is_public(bias):
            public = self._public(bias)
            if node.op == "conv2d":
                public = f"{bias}.column"
                self.public[public] = self.public[bias].reshape(-1, 1, 1)
            attrs: dict[str, Any] = {"addend": public}
            op, inputs = "shift", (name,)
        else:
            attrs, op, inputs = {}, "add", (name, self._weight(bias) if addend == bias else addend)  # type: ignore[assignment]
        self._add(replace(self.steps[name], name=node.name, op=op, inputs=inputs, attrs=attrs))

    # --- comparisons and functions ---

    def _bits(self, node: Node) -> str:
        """The comparisons of a select, under their mask; made once for all that compare alike."""
        operand = self.nodes[node.inputs[0]]
        bits, width = self.bits[operand.name], self._least(operand)
        reach = 1 << (width - 2)
        found = (ceil(b * 2.0**bits) for b in numbers(node.attrs, "breaks"))
        thresholds = tuple(max(-reach, min(reach, t)) for t in found)
        if (operand.name, thresholds) in self.bit_of:
            return self.bit_of[operand.name, thresholds]
        shape = (len(thresholds), *operand.type.shape)
        wire = self._wire(operand.name, width)
        first = Step(
            f"{node.name}.compare", "compare", (wire,), shape, 1, 0,
            {"thresholds": thresholds, "compared": width}, node.origin,
        )  # fmt: skip
        last = self._add(first)
        sizes = compare.groups(width)
        if len(sizes) > 1:
            attrs = {"groups": len(sizes)}
            last = self._add(
                replace(first, name=f"{node.name}.merge", op="merge", inputs=(last,), attrs=attrs)
            )
        bit = replace(first, name=f"{node.name}.bit", op="bit", inputs=(last,), attrs={})
        self.bit_of[operand.name, thresholds] = self._add(bit)
        return self.bit_of[operand.name, thresholds]

    def _compare(self, node: Node) -> None:
        """The table's rows; nothing reads this step if all readers are gates, and it is then dropped."""
        bits = self._bits(node)
        operand = self.nodes[node.inputs[0]]
        count = len(numbers(node.attrs, "breaks"))
        table = scaled(np.array(numbers(node.attrs, "table")), self.bits[node.name]).reshape(-1, count + 1)
        name = f"{node.name}.table"
        self.public[name] = encoded(table)
        shape = (count, *operand.type.shape)
        self._step(node, "lookup", [bits], self.needed[node.name], table=name, bits_shape=shape)

    def _gate(self, node: Node, width: int) -> bool:
        """x times a select with one threshold and one row needs no table."""
        for x, name in (node.inputs, node.inputs[::-1]):
            chosen = self.nodes[name]
            if chosen.op != "select" or len(numbers(chosen.attrs, "table")) != 2 or x in self.graph.constants:
                continue
            if chosen.type.shape != node.type.shape or self.nodes[x].type.shape != node.type.shape:
                continue
            low, high = (int(v) for v in scaled(np.array(numbers(chosen.attrs, "table")), self.bits[name]))
            made = Step(
                node.name, "gate", (self._wire(x, width), self._bits(chosen)), node.type.shape, width,
                self.bits[node.name], {"low": low, "high": high}, node.origin,
            )  # fmt: skip
            self._add(made)
            return True
        return False

    def _waves(self, node: Node) -> IntegerWaves:
        return integer_waves(node.attrs, self.bits[node.inputs[0]])

    def _fourier(self, node: Node) -> None:
        """Dealt by the term, so in no wider ring than the value needs."""
        wire = self._wire(node.inputs[0], self._waves(node).log_size)
        attrs = {"operand_bits": self.bits[node.inputs[0]]}
        self._step(node, "fourier", [wire], WORD if self.shares else self._least(node), **attrs)


def _live(steps: list[Step], outputs: list[str]) -> list[Step]:
    wanted = set(outputs)
    for step in reversed(steps):
        if step.name in wanted or step.op == "input":
            wanted.update(step.inputs)
    return [step for step in steps if step.name in wanted or step.op == "input"]
