"""Stacks: the packing of throughput mode (decision 12).

A value is a stack of ciphertexts, one for each coordinate of the tensor but for the axis of tokens, if one
is in the slots. Slots hold, for every token, all inputs of a batch. An affine region is a matrix of numbers
then, found from the values of the map; products of queries and keys, and of scores and values, mix tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import LimitError
from cipherformer.kernels.layout import row_major
from cipherformer.kernels.step import Diagonals, Step, TermStep
from cipherformer.passes.carried import carries, small_matrix, sparse_matrix
from cipherformer.passes.packing import Packed, bound_of_region
from cipherformer.passes.regions import Region

Array = NDArray[np.float64]
Linear = Callable[[Array], Array]

MAX_STACK = 4096
"""Most ciphertexts of one value."""
TOLERANCE = 1e-9
MAX_HELD_BYTES = 5 << 29
"""Of the rotated keys of a head, as long as scores are made."""
LIMBS = 16
"""Of a key, for that bound: its level is not known yet."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a value stands in its stack.

    Args:
        shape: of the tensor, batch axis 1 included.
        axis: the axis that is in the slots; None if the value is the same for all tokens.
        by_diagonals: scores of all pairs of tokens, see `kernels.stack`.
        token: the only one at which the slots are meant; -1 for all.
    """

    shape: tuple[int, ...]
    axis: int | None
    by_diagonals: bool = False
    token: int = -1

    @property
    def rest(self) -> tuple[int, ...]:
        """Sizes of the axes over which ciphertexts go."""
        return tuple(n for a, n in enumerate(self.shape) if a != self.axis)

    @property
    def count(self) -> int:
        """Ciphertexts."""
        return prod(self.rest)


@dataclass(slots=True)
class _Work:
    """One packing in progress."""

    slots: int
    tokens: int
    babies: int
    forms: dict[str, Form] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    vectors: dict[str, Array] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Inputs in a ciphertext."""
        return self.slots // self.tokens

    def emit(self, r: Region, form: Form, kernel: str, inputs: Sequence[str], **rest: object) -> None:
        if form.count > MAX_STACK:
            raise LimitError(
                f"{r.name} takes {form.count} ciphertexts, {MAX_STACK} are the most",
                where=r.origin,
                fix="give inputs an axis that all layers treat alike, of a size that is a power of two",
            )
        self.forms[r.name] = form
        layout = row_major((1,), self.slots.bit_length() - 1)
        step = Step(r.name, kernel, tuple(inputs), layout, r.origin, stack=form.count)
        self.steps.append(step.with_(bound=bound_of_region(r), **rest))


@dataclass(frozen=True, eq=False, slots=True)
class Stacked:
    """The result.

    Args:
        packed: steps, levels not yet decided; packings hold a slot map for each ciphertext of an input.
        batch: inputs that a ciphertext holds.
        read: output -> for each ciphertext (slot, element) of what is read from it.
    """

    packed: Packed
    batch: int
    read: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def stack(
    graph: Sequence[Region], outputs: Sequence[str], slots: int, axis: int | None, babies: int = 0
) -> Stacked:
    """Steps on stacks.

    Args:
        graph: regions in order.
        outputs: values that go back to the client.
        slots: of a ciphertext.
        axis: of every input, that is kept in the slots; None for no axis.
        babies: rotations of keys and values; by default the power of two at or below the root of the tokens.

    Raises:
        LimitError: a map mixes tokens in another way than attention, pooling and slicing do, or a value has
            too many ciphertexts.
    """
    inputs = [r for r in graph if r.kind == "input"]
    tokens = 1 if axis is None else inputs[0].shape[axis]
    if tokens & (tokens - 1) or slots % tokens or any(axis and r.shape[axis] != tokens for r in inputs):
        raise LimitError(f"axis {axis} cannot be kept in the slots", why="its size is no power of two")
    work = _Work(slots, tokens, babies or 1 << (tokens.bit_length() - 1) // 2)
    for r in graph:
        _ROUTES.get(r.kind, _elementwise)(work, r, axis)
    packings = {r.name: (r.name, _slot_maps(work, work.forms[r.name])) for r in inputs}
    packed = Packed(tuple(work.steps), tuple(outputs), {}, work.vectors, packings)
    return Stacked(packed, work.batch, {name: _read(work, work.forms[name]) for name in outputs})


def _slot_maps(work: _Work, form: Form) -> NDArray[np.int64]:
    """[ciphertexts, slots] flat element of the batch's input [batch, ...] for each slot."""
    elements = np.arange(work.batch * prod(form.shape)).reshape(work.batch, *form.shape)
    if form.axis is None:
        return np.ascontiguousarray(elements.reshape(work.batch, -1).T)
    moved = np.moveaxis(elements, form.axis + 1, 0)  # [tokens, batch, rest]
    return np.ascontiguousarray(moved.reshape(work.slots, -1).T)


def _read(work: _Work, form: Form) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[ciphertexts, n] slots that are read, and the elements of the batch's output that they hold."""
    if form.by_diagonals:
        raise LimitError("scores of pairs of tokens are not an output that can be read")
    if form.axis is not None:
        maps = _slot_maps(work, form)
        return np.broadcast_to(np.arange(work.slots), maps.shape), maps
    elements = np.arange(work.batch * form.count).reshape(work.batch, -1).T
    first = max(form.token, 0) * work.batch
    return np.broadcast_to(np.arange(first, first + work.batch), elements.shape), elements


def _input(work: _Work, r: Region, axis: int | None) -> None:
    work.emit(r, Form(r.shape, axis), "input", ())


def _elementwise(work: _Work, r: Region, axis: int | None) -> None:
    form = work.forms[r.inputs[0]]
    _everywhere(r, form)
    fields: dict[str, object] = {}
    if r.kind == "power":
        fields = {"exponent": int(_number(r.attrs["exponent"]))}
    else:
        key = "coefficients" if r.kind == "polynomial" else "relaxations"
        values = r.attrs[key]
        assert isinstance(values, tuple)
        fields = {"interval": (_number(r.attrs["low"]), _number(r.attrs["high"])), key: values}
    work.emit(r, replace(form, shape=r.shape), r.kind, r.inputs, **fields)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _everywhere(r: Region, *forms: Form) -> None:
    """Values at other tokens than the one that is meant may leave every range."""
    if any(f.token >= 0 for f in forms):
        raise LimitError(
            "a non-linear operation on one token of a sequence",
            where=r.origin,
            why="in throughput mode it would run on all tokens, whose values were not calibrated",
            fix="pool over all tokens, or compile in latency mode",
        )


def _mul(work: _Work, r: Region, axis: int | None) -> None:
    a, b = (work.forms[i] for i in r.inputs)
    _everywhere(r, a, b)
    places = [None if f.axis is None else f.axis + len(r.shape) - len(f.shape) for f in (a, b)]
    kept = {p for p in places if p is not None}
    if len(kept) > 1 or a.by_diagonals != b.by_diagonals:
        raise LimitError("a product of values of different tokens", where=r.origin)
    form = Form(r.shape, next(iter(kept), None), a.by_diagonals)
    index = []
    for f in (a, b):
        own = np.arange(f.count).reshape([1 if i == f.axis else n for i, n in enumerate(f.shape)])
        own = own.reshape((1,) * (len(r.shape) - own.ndim) + own.shape)
        goal = [1 if i == form.axis else n for i, n in enumerate(r.shape)]
        index.append(np.broadcast_to(own, goal).reshape(-1))
    _pairs(work, r, form, np.stack(index, axis=1)[:, None])


def _pairs(work: _Work, r: Region, form: Form, pairs: NDArray[np.int64]) -> None:
    """Products of coordinates, [results, terms, 2]."""
    work.vectors[r.name] = pairs.astype(np.float64)
    work.emit(r, form, "pairs", r.inputs, terms=(TermStep(0, (), r.name, ()),))


def _matmul(work: _Work, r: Region, axis: int | None) -> None:
    a, b = (work.forms[i] for i in r.inputs)
    _everywhere(r, a, b)
    last, heads = len(r.shape) - 1, prod(r.shape[:-2])
    same = len(a.shape) == len(b.shape) and a.shape[:-2] == b.shape[:-2]
    if same and not a.by_diagonals and a.axis == last - 1 and b.axis == last:
        diagonals = Diagonals(heads, work.tokens, work.babies, work.batch, _held(work, a.shape[-1]))
        # Keys stand as [heads, features] like the queries: their rest is [..., features].
        work.emit(r, Form(r.shape, last - 1, True), "scores", r.inputs, diagonals=diagonals)
    elif same and a.by_diagonals and b.axis == last - 1:
        diagonals = Diagonals(heads, work.tokens, work.babies, work.batch, work.babies)
        work.emit(r, Form(r.shape, last - 1), "attended", r.inputs, diagonals=diagonals)
    elif a.by_diagonals or b.by_diagonals or b.axis is not None or a.axis not in (None, last - 1):
        raise LimitError("a matrix product of tokens that is not that of attention", where=r.origin)
    else:
        left = np.arange(a.count).reshape([1 if i == a.axis else n for i, n in enumerate(a.shape)])
        right = np.arange(b.count).reshape(b.shape)
        lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        left = np.broadcast_to(left, lead + left.shape[-2:])[..., :, None, :]
        right = np.broadcast_to(right, lead + right.shape[-2:]).swapaxes(-1, -2)[..., None, :, :]
        pairs = np.stack(np.broadcast_arrays(left, right), axis=-1)
        _pairs(work, r, Form(r.shape, a.axis), pairs.reshape(-1, *pairs.shape[-2:]))


def _held(work: _Work, features: int) -> int:
    """Rotations of the keys of a head that fit `MAX_HELD_BYTES`, two features in a ciphertext."""
    size = (features + 1) // 2 * 2 * LIMBS * 8 * 2 * work.slots
    held = work.babies
    while held > 1 and held * size > MAX_HELD_BYTES:
        held //= 2
    return held


def _affine(work: _Work, r: Region, axis: int | None) -> None:
    terms, forms = [], []
    for i, term in enumerate(r.terms):
        source = work.forms[term.source]
        linear: Linear = lambda x, t=term: t.apply(x, r.shape)  # type: ignore[misc]  # noqa: E731
        matrix, form, post, sums = _mapped(work, r, source, linear)
        work.vectors[f"{r.name}.{i}"] = matrix
        terms.append(TermStep(i, (), f"{r.name}.{i}", post))
        forms.append((form, sums))
    if any(f != forms[0] or t.post != terms[0].post for f, t in zip(forms, terms, strict=True)):
        raise LimitError("a sum of values that stand at different tokens", where=r.origin)
    form, sums = forms[0]
    bias = _bias(r, form)
    if bias is not None:
        work.vectors[f"{r.name}.bias"] = bias
    key = "" if bias is None else f"{r.name}.bias"
    inputs = [t.source for t in r.terms]
    work.emit(r, form, "mix", inputs, terms=tuple(terms), sums=sums, bias=key)


Mapped = tuple[Array, Form, tuple[int, ...], tuple[int, ...]]
"""Matrix over ciphertexts, form of the result, rotations summed over tokens, rotations of groups."""


def _mapped(work: _Work, r: Region, source: Form, linear: Linear) -> Mapped:
    """One term of an affine region."""
    if source.by_diagonals:
        return _from_diagonals(work, r, source, linear)
    if source.axis is None:
        matrix = small_matrix(linear, source.shape, r.shape, ())
        return matrix, Form(r.shape, None, token=source.token), (), ()
    for b, size in enumerate(r.shape):
        if size == source.shape[source.axis] and carries(linear, source.shape, source.axis, b):
            return small_matrix(linear, source.shape, r.shape, ((source.axis, b),)), Form(r.shape, b), (), ()
    rows = prod(r.shape)
    if rows > MAX_STACK:
        raise _mixes(r)
    whole = sparse_matrix(linear, source.shape, rows).reshape(rows, *source.shape)
    by_token = np.moveaxis(whole, source.axis + 1, 1).reshape(rows, work.tokens, -1)
    used = np.nonzero(np.abs(by_token).max(axis=(0, 2)))[0]
    if len(used) == 1:
        return by_token[:, used[0]], Form(r.shape, None, token=int(used[0])), (), ()
    if np.abs(by_token - by_token[:, :1]).max() <= TOLERANCE * np.abs(by_token).max():
        post = tuple(work.batch << i for i in range(work.tokens.bit_length() - 1))
        return np.ascontiguousarray(by_token[:, 0]), Form(r.shape, None), post, ()
    raise _mixes(r)


def _mixes(r: Region) -> LimitError:
    return LimitError(
        "an affine map mixes tokens",
        where=r.origin,
        why="in throughput mode a map treats all tokens alike, sums over them, or takes one",
        fix="compile in latency mode",
    )


def _from_diagonals(work: _Work, r: Region, source: Form, linear: Linear) -> Mapped:
    """A factor for all scores, or a weighted sum over the keys of every query."""
    x = np.random.default_rng(3).standard_normal(source.shape)
    y, giants = linear(x), work.tokens // work.babies
    limit = TOLERANCE * float(np.abs(y).max())
    if r.shape == source.shape:
        factor = float((x * y).sum() / (x * x).sum())
        if np.abs(y - factor * x).max() > limit:
            raise _mixes(r)
        return factor * np.eye(source.count), replace(source, shape=r.shape), (), ()
    sums = x.sum(axis=-1).reshape(-1, work.tokens)
    if y.size != sums.size:
        raise _mixes(r)
    found = y.reshape(sums.shape)
    factors = (found * sums).sum(axis=1) / (sums * sums).sum(axis=1)
    if np.abs(found - factors[:, None] * sums).max() > limit:
        raise _mixes(r)
    rows = np.kron(np.diag(factors), np.kron(np.eye(giants), np.ones((1, work.babies))))
    steps = tuple(i * work.batch for i in range(0, work.tokens, work.babies))
    return rows, Form(r.shape, len(source.shape) - 2), (), steps


def _bias(r: Region, form: Form) -> Array | None:
    """[ciphertexts, 1 or tokens], None for nothing to add."""
    assert r.bias is not None
    if not r.bias.any():
        return None
    if form.by_diagonals:
        if np.ptp(r.bias) > TOLERANCE:
            raise _mixes(r)
        return np.full((form.count, 1), r.bias[0])
    if form.axis is None:
        return r.bias.reshape(-1, 1)
    rows = np.moveaxis(r.bias.reshape(r.shape), form.axis, -1).reshape(form.count, -1)
    return np.ascontiguousarray(rows[:, :1] if np.array_equal(rows, rows[:, :1] + 0 * rows) else rows)


_ROUTES: Mapping[str, Callable[[_Work, Region, int | None], None]] = {
    "input": _input,
    "affine": _affine,
    "mul": _mul,
    "matmul": _matmul,
}
