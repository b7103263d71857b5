"""Comparisons of a masked wire with public thresholds, from dealt tables that public bits index.

b = (x >= c) is 1 - the top bit of v = x - c, and that bit is the top bit of v^ = v + r, of r, and the borrow
(v^ mod 2^(n-1) < r mod 2^(n-1)), added. The low bits are cut in chunks of four. For each chunk the dealer
shares, by exclusive or, the tables of "less than the chunk of r" and "equal to it", masked; the parties look
their shares up at the public chunk and open the two masked bits. What is left is a polynomial of bits that
are public up to masks; the dealer shares the products of masks that it needs. Six chunks (25 bits) take one
opening; more are done in groups of four, with a second opening. A last opening gives b under a mask of its
own.

All tables are drawn anew for each threshold and element, since the public chunks of two thresholds differ by
what is known.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from cipherformer.backends.mpc2.program import Program, Slot, Step
from cipherformer.backends.mpc2.protocol import DealerState, Held, Masks, PartyState, Protocol, whole
from cipherformer.backends.mpc2.ring import U64, Ring, lowest

CHUNK = 4
ONE_LEVEL = 6
GROUP = 4


def chunks(width: int) -> list[int]:
    """Bits of the chunks below the top bit, most significant first."""
    full, rest = divmod(width - 1, CHUNK)
    return ([rest] if rest else []) + [CHUNK] * full


def groups(width: int) -> list[int]:
    """Chunks in each group, most significant first."""
    count = len(chunks(width))
    if count <= ONE_LEVEL:
        return [count]
    full, rest = divmod(count, GROUP)
    return ([rest] if rest else []) + [GROUP] * full


def compare_rounds(width: int) -> int:
    """Openings until the bit is known under its mask."""
    return 2 if len(groups(width)) == 1 else 3


@cache
def _supersets(size: int) -> Ring:
    """For each vector e of `size` bits: the subsets S (as bits of a word) that contain all i with e_i = 0."""
    rows = []
    for e in range(1 << size):
        missing = ~e & ((1 << size) - 1)
        rows.append(sum(1 << s for s in range(1 << size) if s & missing == missing))
    return np.array(rows, dtype=U64)


def _products(masks: Ring, size: int) -> Ring:
    """Bit S of the result is the product of the bits of `masks` in S, S over subsets of `size` bits."""
    out = np.ones_like(masks)
    for j in range(size):
        out |= (out << U64(1 << j)) * ((masks >> U64(j)) & U64(1))
    return out


def _parity(value: Ring) -> Ring:
    for shift in (32, 16, 8, 4, 2, 1):
        value = value ^ (value >> U64(shift))
    return value & U64(1)


def monomial_slots(shape: tuple[int, ...], size: int, *, equal: bool) -> tuple[Slot, ...]:
    """Shares of masks' products for one group: those with a "less" mask, and those without."""
    return Slot(shape, (1 << size) - 1), Slot(shape, 1 << (size if equal else size - 1))


def monomials(less: Ring, equal: Ring, size: int, *, with_equal: bool) -> list[Ring]:
    """For bits l_j, m_j (bit j, most significant chunk first): l_j m^S for S below j at bit 2^j + S - 1, and
    m^S at bit S.
    """
    with_less = np.zeros_like(less)
    for j in range(size):
        below = _products(equal, j) * ((less >> U64(j)) & U64(1))
        with_less |= below << U64((1 << j) - 1)
    return [with_less, _products(equal, size if with_equal else size - 1)]


def combine(less: Ring, equal: Ring, shares: list[Ring], size: int) -> Ring:
    """A share of sum_j lt_j prod_(i<j) eq_i from public masked bits and shares of products of masks."""
    total = np.zeros_like(less)
    for j in range(size):
        count = 1 << j
        own = lowest(shares[0] >> U64(count - 1), count)
        free = lowest(shares[1], count) * ((less >> U64(j)) & U64(1))
        total ^= (own ^ free) & _supersets(j)[lowest(equal, j).astype(np.int64)]
    return _parity(total)


def all_equal(equal: Ring, shares: list[Ring], size: int) -> Ring:
    """A share of prod_i eq_i."""
    return _parity(shares[1] & _supersets(size)[equal.astype(np.int64)])


class Compare(Protocol):
    """Chunks: opens, for each group, its "less" and its "equal" bits."""

    xor = True

    def _groups(self, step: Step) -> list[tuple[int, bool]]:
        """Size of each group and whether its "equal" is needed."""
        sizes = groups(step.attrs["compared"])
        return [(size, i + 1 < len(sizes)) for i, size in enumerate(sizes)]

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        out = []
        for size, equal in self._groups(step):
            out += [Slot(step.shape, size), Slot(step.shape, size if equal else size - 1)]
        return tuple(slot for slot in out if slot.width)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        sizes = chunks(step.attrs["compared"])
        tables = [Slot(step.shape, 1 << size) for size in sizes for _ in range(2)]
        out = tables[:-1]
        for size, equal in self._groups(step):
            out += monomial_slots(step.shape, size, equal=equal)
        return tuple(out)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        width = step.attrs["compared"]
        (mask,) = state.inputs(step)
        r = lowest(mask.whole, width)
        sizes = chunks(width)
        less = state.private(step, 0, step.shape, len(sizes))
        equal = state.private(step, 1, step.shape, len(sizes))
        out, position = [], width - 1
        for j, size in enumerate(sizes):
            position -= size
            chunk = lowest(r >> U64(position), size)
            for bits, table in ((less, (U64(1) << chunk) - U64(1)), (equal, U64(1) << chunk)):
                every = U64((1 << (1 << size)) - 1)
                out.append(table ^ (every * ((bits >> U64(j)) & U64(1))))
        out.pop()
        start = 0
        for size, needed in self._groups(step):
            ours = [lowest(bits >> U64(start), size) for bits in (less, equal)]
            out += monomials(ours[0], ours[1], size, with_equal=needed)
            start += size
        top = np.broadcast_to(r >> U64(width - 1), step.shape)
        return out, Masks(top, top)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        width = step.attrs["compared"]
        (x,) = state.inputs(step)
        public = lowest(moved(step, x.public), width)
        tables = iter(state.dealt[step.name])
        sizes, position = iter(chunks(width)), width - 1
        out = []
        for count, _ in self._groups(step):
            less, equal = np.zeros(step.shape, U64), np.zeros(step.shape, U64)
            for j in range(count):
                size = next(sizes)
                position -= size
                chunk = lowest(public >> U64(position), size)
                less |= ((next(tables) >> chunk) & U64(1)) << U64(j)
                if position:
                    equal |= ((next(tables) >> chunk) & U64(1)) << U64(j)
            out += [less, equal]
        return out if self._last_is_wide(step) else out[:-1]

    def _last_is_wide(self, step: Step) -> bool:
        """False if the last group is one chunk, whose "equal" bit nobody needs."""
        return self._groups(step)[-1][0] > 1

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        public = lowest(moved(step, x.public), step.attrs["compared"])
        top = public >> U64(step.attrs["compared"] - 1)
        found = self._groups(step)
        if not self._last_is_wide(step):
            opened = [*opened, np.zeros(step.shape, U64)]
        shares = state.dealt[step.name][2 * len(chunks(step.attrs["compared"])) - 1 :]
        parts = []
        for i, (size, needed) in enumerate(found):
            less, equal, own = opened[2 * i], opened[2 * i + 1], shares[2 * i : 2 * i + 2]
            parts.append(combine(less, equal, own, size))
            if needed:
                parts.append(all_equal(equal, own, size))
        return Held(top, parts[0], tuple(parts))


def moved(step: Step, public: Ring) -> Ring:
    """x + r - c for each threshold c, along a new leading axis."""
    thresholds = np.array([t % (1 << 64) for t in step.attrs["thresholds"]], dtype=U64)
    return np.asarray(public[None] - thresholds.reshape(-1, *([1] * public.ndim)))


class Merge(Protocol):
    """Groups: the same once more, on the groups' bits."""

    xor = True

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        size = step.attrs["groups"]
        return Slot(step.shape, size), Slot(step.shape, size - 1)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return monomial_slots(step.shape, step.attrs["groups"], equal=False)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        size, (before,) = step.attrs["groups"], state.inputs(step)
        less, equal = (self._mask(step, state, i) for i in range(2))
        return monomials(less, equal, size, with_equal=False), before

    def _mask(self, step: Step, state: DealerState, slot: int) -> Ring:
        size = step.attrs["groups"]
        pair = [s.draw(step.number, 100 + slot, step.shape, size) for s in (state.server, state.client)]
        return pair[0] ^ pair[1]

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        size, (before,) = step.attrs["groups"], state.inputs(step)
        parts = before.parts
        less, equal = (state.stream.draw(step.number, 100 + i, step.shape, size) for i in range(2))
        for j in range(size):
            less = less ^ (parts[2 * j] << U64(j))
            if j + 1 < size:
                equal = equal ^ (parts[2 * j + 1] << U64(j))
        return [less, lowest(equal, size - 1)]

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (before,) = state.inputs(step)
        return Held(
            before.public, combine(opened[0], opened[1], state.dealt[step.name], step.attrs["groups"])
        )


class Bit(Protocol):
    """The bit under a fresh mask: b = 1 - top of what is public - top of r - borrow, modulo 2."""

    xor = True

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (before,) = state.inputs(step)
        fresh = state.fresh(step, xor=True)
        return [fresh.whole ^ before.whole], fresh

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        (before,) = state.inputs(step)
        own = before.share ^ state.dealt[step.name][0]
        return [own ^ U64(1) ^ before.public if state.is_server else own]

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        return Held(opened[0], np.zeros((), U64))


class Lookup(Protocol):
    """Rows of a public table at the number of thresholds passed, from their bits: base + sum of jumps."""

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return (Slot(tuple(step.attrs["bits_shape"]), step.width),)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (bits,) = state.inputs(step)
        return [bits.whole], state.fresh(step)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        (bits,) = state.inputs(step)
        (mask,) = state.dealt[step.name]
        seen = bits.public
        arithmetic = (1 - 2 * seen) * mask
        if state.is_server:
            arithmetic = arithmetic + seen
        table = state.program.public[step.attrs["table"]]
        jumps = table[:, 1:] - table[:, :-1]
        found = np.tensordot(jumps, arithmetic, axes=(1, 0))
        if state.is_server:
            found = found + table[:, 0].reshape(-1, *([1] * (found.ndim - 1)))
        return [found.reshape(step.shape) + state.fresh(step)]
