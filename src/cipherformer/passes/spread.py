"""The maps that spread the operands of a product over ciphertexts, for `kernels.outer`.

The bits of the contracted index k are divided: those whose slot bit the result does not need stay in slots;
of the others the highest tells real from imaginary part, the rest the ciphertext, in one or two stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import LimitError
from cipherformer.kernels import linear
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.layout import HOLE, REPLICATED, Layout
from cipherformer.passes.packing import Packer
from cipherformer.passes.place import Product

ONE_STAGE = 2
"""Most bits of the contracted index that a single stage picks."""


def spread_operands(
    p: Packer, product: Product, inner: int, left: Layout, right: Layout
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Keys of the maps of both operands, by stage; the maps are added to the packer's transforms.

    Args:
        p: the packer.
        product: where things stand.
        inner: bits of the contracted index.
        left, right: layouts of the operands.

    Raises:
        LimitError: if all bits of the contracted index stay in slots.
    """
    spread = [r for r in range(inner) if product.k[r] in product.n]
    if not spread:
        raise LimitError("a product that has nothing to spread", fix="use a smaller ring")
    *chosen, imaginary = spread
    first = len(chosen) if len(chosen) <= ONE_STAGE else len(chosen) // 2
    stays = [r for r in range(inner) if r not in spread]
    out = {}
    for name, layout, where, sign in (("left", left, product.k, 1j), ("right", right, product.other, -1j)):
        moves = [(where[r], product.k[r]) for r in stays if where[r] != product.k[r]]
        parts = (chosen[len(chosen) - first :], chosen[: len(chosen) - first])
        bits = list(layout.bits)
        holes = [i for i, bit in enumerate(bits) if bit == HOLE]
        stages = []
        for i, part in enumerate(parts[: 1 if not parts[1] else 2]):
            picked = [where[r] for r in part]
            split = where[imaginary] if i == 0 else None
            rows = _stage(bits, picked, split, sign, (moves, holes) if i == 0 else ([], []))
            stages.append(tuple(_shared(p, diagonals) for diagonals in rows))
            for place in (*picked, *((split,) if split is not None else ()), *(s for s, _ in moves), *holes):
                bits[place] = REPLICATED
            for _, place in moves:
                bits[place] = (-3, 0)
        out[name] = tuple(stages)
    return out


def _stage(
    bits: Sequence[tuple[int, int]],
    picked: Sequence[int],
    split: int | None,
    sign: complex,
    others: tuple[Sequence[tuple[int, int]], Sequence[int]],
) -> list[dict[int, NDArray[Any]]]:
    """For each value of the picked slot bits the diagonals that put what stands there everywhere.

    Args:
        bits: of the layout before.
        picked: slot bits whose value is picked, lowest first.
        split: slot bit of which 0 goes to the real and 1, times `sign`, to the other part; or None.
        sign: i or -i.
        others: pairs (slot bit of the source, slot bit of the result) that hold the same index, and holes.
    """
    moves, holes = others
    slots = 1 << len(bits)
    period = Layout((), tuple(REPLICATED if b == REPLICATED else (-3, 0) for b in bits)).period
    t = np.arange(slots)
    out = []
    for value in range(1 << len(picked)):
        found: dict[int, NDArray[Any]] = {}
        for part in (0, 1) if split is not None else (0,):
            s = t
            for k, place in enumerate(picked):
                s = _with_bit(s, place, (value >> k) & 1)
            if split is not None:
                s = _with_bit(s, split, part)
            for place in holes:
                s = _with_bit(s, place, 0)
            for place, like in moves:
                s = _with_bit(s, place, (t >> like) & 1)
            shift = linear.wrapped(s - t, period)
            for rotation, row in linear.Routes(slots, t, shift, np.ones(slots)).diagonals().items():
                weighted = row * sign if part else row
                found[rotation] = found[rotation] + weighted if rotation in found else weighted
        out.append(found)
    return out


def _with_bit(s: NDArray[np.int64], place: int, value: Any) -> NDArray[np.int64]:
    return np.asarray((s & ~(1 << place)) | (value << place))


def _shared(p: Packer, diagonals: dict[int, NDArray[Any]]) -> str:
    """The key of a map; equal maps of a plan share one."""
    new = linear.make_transform(f"spread.{len(p.spread)}", diagonals, 1 << p.slot_bits)
    for key in p.spread:
        known: Transform = p.transforms[key]
        if known.rotations == new.rotations and np.array_equal(known.diagonals, new.diagonals):
            return key
    p.spread.append(new.name)
    p.transforms[new.name] = new
    return new.name
