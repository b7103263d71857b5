"""A placed graph on a torch device, a GPU above all: exact integers in float64 and int64 tensors.

Carriers follow from a bound of every value: the calibrated one at first. A run measures all values, and what
could have been lost; they come back together, once. If a bound did not hold, it is widened and the run
repeated. So the results are those of `backends.fixed.run`, bit for bit, and the device never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cipherformer.backends import tape
from cipherformer.backends.books import Books
from cipherformer.backends.exact import check_input
from cipherformer.backends.fixed import Result
from cipherformer.backends.integers import Carrier, largest, scaled
from cipherformer.errors import LimitError
from cipherformer.graph import Node
from cipherformer.ops.spec import integer, integers, numbers
from cipherformer.passes.placement import PRODUCTS, Placement, magnitude
from cipherformer.targets.ring import Truncation

_EXACT, _WORD = 1 << 53, 1 << 63
_ROUNDS = 64
_LIMB = 16


class DevicePrepared:
    """A placement on a device, its constants encoded there once.

    Args:
        placement: of values below 2^63, or they are refused.
        device: of torch, `cuda` or `cpu`.
        keep: secret values to return besides the outputs.
        carrier: `FLOAT64` for the fastest, `INT64` to hold all values in int64.
    """

    def __init__(
        self,
        placement: Placement,
        *,
        device: str = "cpu",
        keep: Collection[str] = (),
        carrier: Carrier = Carrier.FLOAT64,
    ) -> None:
        self.placement, self.device, self.carrier = placement, torch.device(device), carrier
        self.shown = {*keep, *placement.graph.outputs}
        self.bounds: dict[str, int] = {}
        self.constants: dict[str, Tensor] = {}
        for node in placement.graph.nodes:
            bits = placement.frac_bits[node.name]
            if node.op == "constant":
                array = scaled(placement.graph.constants[node.name], bits)
                self.bounds[node.name] = largest(array)
                self._refuse_wide(node)
                self.constants[node.name] = self.tensor(array.astype(np.int64), self.bounds[node.name])
            else:
                self.bounds[node.name] = 1 << max(0, bits + magnitude(node)) if node.type.secret else 0
                self._refuse_wide(node)

    def _refuse_wide(self, node: Node) -> None:
        if self.bounds[node.name] >= _WORD:
            raise LimitError(
                "a value needs more than 63 bits, which this device's integers lack",
                where=node.origin or node.name,
                why=f"{node.op} {node.name} has {self.bounds[node.name].bit_length()}",
                fix="run without a device, or take a ring of at most 64 bits",
            )

    def tensor(self, array: NDArray[Any], bound: int) -> Tensor:
        """On the device, in the carrier that holds the bound."""
        fast = bound < _EXACT and self.carrier is Carrier.FLOAT64
        kind = torch.float64 if fast else torch.int64
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, kind)

    def run(self, inputs: Mapping[str, NDArray[Any]], *, seed: int = 0) -> Result:
        """As `backends.fixed.run`.

        Raises:
            LimitError: a value leaves its ring, or this device's integers.
            DataError: an input that does not fit.
        """
        for _ in range(_ROUNDS):
            run = _Run(self, inputs, seed)
            run.all()
            if run.proven():
                return run.result()
        raise LimitError("no bounds were found that the values keep", fix="calibrate on inputs like this one")


class _Run:
    def __init__(self, of: DevicePrepared, inputs: Mapping[str, NDArray[Any]], seed: int) -> None:
        self.of, self.inputs, self.seed = of, inputs, seed
        self.bits, self.graph = of.placement.frac_bits, of.placement.graph
        self.held: dict[str, Tensor] = {}
        self.shown: dict[str, Tensor] = {}
        self.peaks: dict[str, Tensor] = {}
        self.estimates: dict[str, Tensor] = {}
        self.sizes: dict[str, int] = {}
        self.carriers: dict[str, int] = {}

    def all(self) -> None:
        """Every node, without waiting for the device."""
        last = {name: i for i, node in enumerate(self.graph.nodes) for name in node.inputs}
        for i, node in enumerate(self.graph.nodes):
            if node.op == "constant":
                value = self.of.constants[node.name]
            elif node.op == "input":
                value = self._input(node)
            else:
                value = self._carried(node, self._apply(node, [self.held[n] for n in node.inputs]))
                label = str(value.dtype).removeprefix("torch.")
                self.carriers[label] = self.carriers.get(label, 0) + 1
            self.held[node.name] = value
            if node.type.secret:
                self.peaks[node.name] = torch.stack([value.max().double(), -value.min().double()]).max()
            if node.name in self.of.shown:
                self.shown[node.name] = value
            for name in dict.fromkeys((*node.inputs, node.name)):
                if last.get(name, i) == i:
                    del self.held[name]

    def proven(self) -> bool:
        """Whether all bounds held; those that did not are widened."""
        names = list(self.peaks)
        peaks = torch.stack([self.peaks[n] for n in names]).tolist() if names else []
        estimated = list(self.estimates)
        limits = torch.stack([self.estimates[n] for n in estimated]).tolist() if estimated else []
        nodes = self.graph.by_name()
        for name, peak in zip(names, peaks, strict=True):
            if peak > self.of.bounds[name]:
                self.of.bounds[name] = max(int(peak), 1 << int(peak).bit_length())
                self.of._refuse_wide(nodes[name])
                return False
            self.sizes[name] = int(peak).bit_length()
        for name, limit in zip(estimated, limits, strict=True):
            if limit >= _WORD * (1 - 2.0**-40):
                raise LimitError(
                    "a value needs more than 63 bits, which this device's integers lack",
                    where=nodes[name].origin or name,
                    fix="run without a device, or calibrate on inputs like this one",
                )
        return True

    def result(self) -> Result:
        """Values and books, on the host."""
        books = Books(self.of.placement, carriers=self.carriers)
        for node in self.graph.nodes:
            if node.type.secret:
                if node.op in ("extend", "narrow"):
                    books.readable(node, self.sizes[node.inputs[0]])
                books.fits(node, self.sizes[node.name])
        values = {
            name: np.asarray(value.double().cpu().numpy() * 2.0 ** -self.bits[name])
            for name, value in self.shown.items()
        }
        return Result(values, books.headroom, (), books.carriers)

    # --- operations ---

    def _input(self, node: Node) -> Tensor:
        array = scaled(check_input(node, self.inputs), self.bits[node.name])
        self.of.bounds[node.name] = max(self.of.bounds[node.name], largest(array))
        self.of._refuse_wide(node)
        return self.of.tensor(array.astype(np.int64), self.of.bounds[node.name])

    def _carried(self, node: Node, value: Tensor) -> Tensor:
        fast = self.of.bounds[node.name] < _EXACT and self.of.carrier is Carrier.FLOAT64
        return value.to(torch.float64 if fast else torch.int64)

    def _bound(self, node: Node, *indices: int) -> int:
        return sum(self.of.bounds[node.inputs[i]] for i in indices)

    def _apply(self, node: Node, x: list[Tensor]) -> Tensor:
        match node.op:
            case "add" | "sub":
                sign = 1 if node.op == "add" else -1
                return self._either(node, lambda a, b: a + sign * b, x, self._bound(node, 0, 1))
            case "neg":
                return -x[0]
            case "mul":
                return self._either(node, torch.mul, x, self._bound(node, 0) * self._bound(node, 1))
            case "lift":
                factor = 2 ** integer(node.attrs, "bits")
                return self._either(node, lambda a: a * factor, x, self._bound(node, 0) * factor)
            case "sum":
                dims = integers(node.attrs, "dims")
                terms = max(1, prod(x[0].shape[d] for d in dims))
                keep = bool(node.attrs["keepdim"])
                return self._either(node, lambda a: a.sum(dims, keep), x, self._bound(node, 0) * terms)
            case "trunc":
                return self._truncated(node, x[0])
            case "select":
                return self._selected(node, x[0])
            case op if op in PRODUCTS:
                return self._product(node, x)
            case _:
                return _moved(node, x)

    def _either(self, node: Node, function: Callable[..., Tensor], x: list[Tensor], bound: int) -> Tensor:
        """In float64 where the bound proves it, else in int64 with an estimate of what could be lost."""
        if bound < _EXACT and self.of.carrier is Carrier.FLOAT64:
            return function(*(v.double() for v in x))
        out = function(*(v.long() for v in x))
        if bound >= _WORD:
            self.estimates[node.name] = function(*(v.double() for v in x)).abs().max()
            if node.op == "sum":  # its error grows with the sizes of the terms
                self.estimates[node.name] += function(x[0].double().abs()).max() * 2.0**-40
        return out

    def _truncated(self, node: Node, x: Tensor) -> Tensor:
        bits = integer(node.attrs, "bits")
        if self._bound(node, 0) + (1 << bits) >= _WORD:
            raise LimitError(
                "a truncation needs more than 63 bits", where=node.origin, fix="run without a device"
            )
        offset: Tensor | int = 1 << (bits - 1)
        if node.attrs["mode"] != Truncation.EXACT.value:
            offset = _drawn(tape.key(self.seed, node.name), bits, tuple(x.shape), x.device)
        return (x.long() + offset) >> bits

    def _selected(self, node: Node, x: Tensor) -> Tensor:
        breaks = [ceil(b * 2.0 ** self.bits[node.inputs[0]]) for b in numbers(node.attrs, "breaks")]
        clipped = torch.tensor([max(1 - _WORD, min(_WORD - 1, b)) for b in breaks], device=x.device)
        table = scaled(np.array(numbers(node.attrs, "table")), self.bits[node.name]).astype(np.int64)
        rows = torch.from_numpy(table.reshape(-1, len(breaks) + 1)).to(x.device)
        found = rows[:, torch.searchsorted(clipped, x.long().contiguous(), right=True)]
        return found[0] if len(found) == 1 else found

    def _product(self, node: Node, x: list[Tensor]) -> Tensor:
        bias = x[2].long() if len(x) == 3 else None
        terms = prod(x[1].shape[1:]) if node.op == "conv2d" else x[0].shape[-1]
        left, right = self._bound(node, 0), self._bound(node, 1)
        if left * right * terms < _EXACT:
            parts = [(_multiply(node, x[0].double(), x[1].double()), 0)]
        else:
            if terms >= 1 << (53 - 2 * _LIMB):
                raise LimitError("a sum of too many products", where=node.origin, fix="run without a device")
            pairs = [(a, i, b, j) for a, i in _limbs(x[0], left) for b, j in _limbs(x[1], right)]
            parts = [(_multiply(node, a, b), i + j) for a, i, b, j in pairs]
            size = sum(part.abs() * 2.0**shift for part, shift in parts)
            estimate = sum(part * 2.0**shift for part, shift in parts)
            assert isinstance(size, Tensor) and isinstance(estimate, Tensor)
            self.estimates[node.name] = (estimate.abs() + size * 2.0**-45).max()
        out = parts[0][0].long() << parts[0][1]
        for part, shift in parts[1:]:
            if shift < 64:
                out = out + (part.long() << shift)
        if bias is None:
            return out
        return out + (bias[:, None, None] if node.op == "conv2d" else bias)


def _limbs(x: Tensor, bound: int) -> list[tuple[Tensor, int]]:
    """float64 limbs of 16 bits with their shifts; the last is signed."""
    rest, found = x.long(), []
    length = max(1, bound.bit_length())
    for shift in range(0, length, _LIMB):
        last = shift + _LIMB >= length
        found.append(((rest if last else rest & ((1 << _LIMB) - 1)).double(), shift))
        rest = rest >> _LIMB
    return found


def _multiply(node: Node, a: Tensor, b: Tensor) -> Tensor:
    if node.op == "matmul":
        return torch.matmul(a, b)
    if node.op == "linear":
        return torch.matmul(a, b.T)
    stride, padding, dilation = (integers(node.attrs, n) for n in ("stride", "padding", "dilation"))
    return functional.conv2d(a, b, None, stride, padding, dilation, integer(node.attrs, "groups"))


def _moved(node: Node, x: list[Tensor]) -> Tensor:
    match node.op:
        case "reshape":
            return x[0].reshape(integers(node.attrs, "shape"))
        case "permute":
            return x[0].permute(integers(node.attrs, "dims"))
        case "expand":
            return x[0].expand(integers(node.attrs, "shape"))
        case "slice":
            start, stop, step = (integer(node.attrs, n) for n in ("start", "stop", "step"))
            return x[0][(slice(None),) * integer(node.attrs, "dim") + (slice(start, stop, step),)]
        case "concat":
            kind = torch.float64 if all(v.dtype == torch.float64 for v in x) else torch.int64
            return torch.cat([v.to(kind) for v in x], integer(node.attrs, "dim"))
        case "extend" | "narrow":
            return x[0]
        case _:
            raise LimitError(f"{node.op} does not run on a device", where=node.origin, fix="run without one")


def _signed(word: int) -> int:
    return (word + _WORD) % (1 << 64) - _WORD


def _drawn(key: int, bits: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """`tape.draw` on the device, of at most 62 bits: products of int64 wrap around."""
    z = torch.arange(1, prod(shape) + 1, device=device) * _signed(tape.STEP) + _signed(key)
    for shift, factor in tape.MIXERS:
        z = (z ^ _shifted(z, shift)) * _signed(factor)
    return _shifted(z ^ _shifted(z, 31), 64 - bits).reshape(shape)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """A logical shift to the right."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
