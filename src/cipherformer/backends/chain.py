"""A chain of elementwise operations as one native program: blocks of it stay in the cache.

The program is exact in the carrier that it runs in, or says that it is not: a float64 result below 2^53 of
integers below 2^53 is right, because rounding is monotone; for words the operands' bit lengths are checked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil

import numpy as np

from cipherformer import _native as native
from cipherformer.backends import tape
from cipherformer.backends.integers import Carrier, scaled
from cipherformer.backends.units import RENAMES, Shape, Unit
from cipherformer.graph import Node
from cipherformer.ops.spec import Array, integer, numbers
from cipherformer.passes.placement import Placement
from cipherformer.targets.ring import Truncation

_CONSTANT, _LOAD, _STORE, _ADD, _SUB, _MUL, _LIFT, _ROUND, _DRAW, _COUNT, _PICK = range(11)
_FAR = 1 << 126
_BINARY = {"add": _ADD, "sub": _SUB, "mul": _MUL}

Line = tuple[int, int, int, int, str]
"""Op, result, operands, and the value whose tape is drawn from."""


class Chain:
    """A unit of elementwise nodes, compiled.

    Args:
        unit: with a shape.
        placement: of its graph.
        shapes: of all values.
        outputs: members whose arrays others need.
        threads: that share the blocks.
    """

    def __init__(
        self,
        unit: Unit,
        placement: Placement,
        shapes: Mapping[str, Shape],
        outputs: Collection[str],
        threads: int = 1,
    ) -> None:
        assert unit.shape is not None
        self.nodes = tuple(unit.nodes)
        self.shape: Shape = unit.shape or (1,)
        self.inputs: list[tuple[str, Shape]] = []
        self.outputs = [node.name for node in self.nodes if node.name in outputs]
        self._placement, self._shapes, self._threads = placement, shapes, threads
        self._members = {node.name: node for node in self.nodes}
        self._code: list[Line] = []
        self._registers: dict[object, int] = {}
        self._values: list[int] = []
        self._tables: list[list[int]] = []
        self._lines: dict[str, int] = {}
        self._programs: dict[int, native.FixedProgram] = {}
        self._emit()
        self._code = _allocated(self._code)
        self.draws = any(line[0] == _DRAW for line in self._code)

    # --- compiling ---

    def _emit(self) -> None:
        for node in self.nodes:
            if node.op not in RENAMES and node.op not in ("slice", "select"):
                self._operation(node)
            if node.name in self.outputs:
                self._line(_STORE, self.outputs.index(node.name), self._read(node.name, node.type.shape))

    def _line(self, op: int, out: int, a: int, b: int = 0, name: str = "") -> int:
        self._code.append((op, out, a, b, name))
        return out

    def _new(self, key: object) -> int:
        self._registers[key] = len(self._registers)
        return self._registers[key]

    def _operation(self, node: Node) -> None:
        operands = [self._read(name, node.type.shape) for name in node.inputs]
        if node.op == "neg":
            operands.insert(0, self._value(0))
        bits = integer(node.attrs, "bits") if "bits" in node.attrs else 0
        out = self._new(node.name)
        match node.op:
            case "lift":
                self._line(_LIFT, out, operands[0], bits)
            case "trunc":
                exact = node.attrs["mode"] == Truncation.EXACT.value
                self._line(_ROUND if exact else _DRAW, out, operands[0], bits, "" if exact else node.name)
            case op:
                self._line(_SUB if op == "neg" else _BINARY[op], out, operands[0], operands[1])
        self._lines[node.name] = len(self._code) - 1

    def root(self, name: str) -> str:
        """What a member of another name or shape stands for."""
        while name in self._members and self._members[name].op in RENAMES:
            name = self._members[name].inputs[0]
        return name

    def _read(self, name: str, shape: Shape) -> int:
        """The register of an operand, filled when it is first read."""
        while name in self._members and self._members[name].op in RENAMES:
            node = self._members[name]
            name, shape = node.inputs[0], self._shapes[node.inputs[0]]
        if name in self._members:
            return self._registers[name] if name in self._registers else self._row(self._members[name])
        constant = self._placement.graph.constants.get(name)
        if constant is not None and constant.size == 1:
            return self._value(int(scaled(constant, self._placement.frac_bits[name]).ravel()[0]))
        if (name, shape) not in self._registers:
            self.inputs.append((name, shape))
            self._line(_LOAD, self._new((name, shape)), len(self.inputs) - 1)
        return self._registers[name, shape]

    def _value(self, value: int) -> int:
        key = ("value", value)
        if key not in self._registers:
            self._values.append(value)
            self._line(_CONSTANT, self._new(key), len(self._values) - 1)
        return self._registers[key]

    def _row(self, node: Node) -> int:
        """A look-up's row: counts first, if they are not there."""
        select = self._members[node.inputs[0]] if node.op == "slice" else node
        row = integer(node.attrs, "start") if node.op == "slice" else 0
        breaks, rows = self._table(select)
        key = ("counts", select.name)
        if key not in self._registers:
            source = self._read(select.inputs[0], self._shapes[select.inputs[0]])
            self._tables.append(breaks)
            self._registers[key] = sum(isinstance(k, tuple) and k[0] == "counts" for k in self._registers)
            self._line(_COUNT, self._registers[key], source, len(self._tables) - 1)
        self._tables.append(rows[row])
        out = self._new(node.name)
        self._line(_PICK, out, self._registers[key], len(self._tables) - 1)
        self._lines[node.name] = len(self._code) - 1
        return out

    def _table(self, select: Node) -> tuple[list[int], list[list[int]]]:
        """Encoded thresholds and rows."""
        bits = self._placement.frac_bits
        breaks = [ceil(b * 2.0 ** bits[select.inputs[0]]) for b in numbers(select.attrs, "breaks")]
        breaks = [max(-_FAR, min(_FAR, b)) for b in breaks]
        table = scaled(np.array(numbers(select.attrs, "table")), bits[select.name])
        return breaks, [[int(v) for v in row] for row in table.reshape(-1, len(breaks) + 1)]

    # --- running ---

    def run(
        self, carrier: Carrier, inputs: Sequence[Array], outputs: Sequence[Array], seed: int
    ) -> tuple[dict[str, int], dict[str, float]] | None:
        """Fill the outputs; the bit length of each computing member's largest |value|, and in float64 that
        itself. None if the carrier does not hold everything: then the outputs hold nothing of use.

        Args:
            carrier: arithmetic.
            inputs: float64, int64 or pairs, in the order of `inputs`.
            outputs: contiguous, of the chain's shape.
            seed: of the tape.
        """
        views = [
            np.broadcast_to(a, shape).reshape(self.shape)
            for a, (_, shape) in zip(inputs, self.inputs, strict=True)
        ]
        program = self._program(seed if self.draws else 0)
        fits, bits, peaks = program.run(int(carrier), self.shape, views, list(outputs))
        if not fits:
            return None
        sizes = {name: bits[line] for name, line in self._lines.items()}
        return sizes, {name: peaks[line] for name, line in self._lines.items()} if peaks else {}

    def _program(self, seed: int) -> native.FixedProgram:
        if seed not in self._programs:
            self._programs.clear()
            code = [(op, out, a, b, tape.key(seed, n) if n else 0) for op, out, a, b, n in self._code]
            tables = [list(map(_words, table)) for table in self._tables]
            values = list(map(_words, self._values))
            self._programs[seed] = native.FixedProgram(
                code, values, tables, len(self.inputs), len(self.outputs), self._threads
            )
        return self._programs[seed]


def _words(value: int) -> tuple[int, int]:
    """High signed word and low word of an integer below 2^127."""
    return value >> 64, value & (2**64 - 1)


def _allocated(code: list[Line]) -> list[Line]:
    """Registers shared by values that do not live at one time; constants keep theirs."""
    last: dict[int, int] = {}
    for i, line in enumerate(code):
        for register in _reads(line):
            last[register] = i
    free: list[int] = []
    place: dict[int, int] = {}
    out: list[Line] = []
    used = 0
    fixed = {line[1] for line in code if line[0] == _CONSTANT}
    for i, (op, target, a, b, name) in enumerate(code):
        reads = _reads(code[i])
        a, b = (place[a] if a in reads[:1] else a), (place[b] if b in reads[1:] else b)
        if op in (_STORE, _COUNT):
            out.append((op, target, a, b, name))
        else:
            if free and target not in fixed:
                place[target] = free.pop()
            else:
                place[target], used = used, used + 1
            out.append((op, place[target], a, b, name))
            if target not in last and target not in fixed:
                free.append(place[target])
        free += [place[r] for r in dict.fromkeys(reads) if last[r] == i and r not in fixed]
    return out


def _reads(line: Line) -> list[int]:
    op, _, a, b, _ = line
    if op in (_ADD, _SUB, _MUL):
        return [a, b]
    return [] if op in (_CONSTANT, _LOAD, _PICK) else [a]
