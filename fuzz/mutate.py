"""Makes damaged copies of valid bytes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four random edits: flip, overwrite, cut, repeat, insert, or a whole word set to an extreme."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        edit = rng.randrange(6)
        at = rng.randrange(len(out)) if out else 0
        if edit == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif edit == 1 and out:
            out[at] = rng.choice(INTERESTING)
        elif edit == 2:
            del out[at : at + rng.choice((1, 2, 4, 8, len(out)))]
        elif edit == 3:
            out[at:at] = out[at : at + rng.randint(1, 32)]
        elif edit == 4:
            out[at:at] = rng.randbytes(rng.randint(1, 16))
        elif len(out) >= 8:
            at = rng.randrange(len(out) - 7)
            width = rng.choice((2, 4, 8))
            out[at : at + width] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * width
    return bytes(out)


EXTREMES: tuple[Any, ...] = (
    None, True, "", "x", "\ud800", [], {}, [[]], 0, -1, 1, 2, 1 << 31, -(1 << 63), 1 << 64, 10**400,
    0.5, -0.0, 1e308, float("nan"), float("inf"),
)  # fmt: skip


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """One to three values of a JSON document replaced, removed, repeated or changed; or plain damage."""
    if rng.random() < 0.1:
        return mutate(data, rng)
    document = copy.deepcopy(json.loads(data))
    for _ in range(rng.randint(1, 3)):
        holder, key = _place(document, rng)
        if holder is None:
            continue
        edit = rng.randrange(4)
        if edit == 0:
            del holder[key]
        elif edit == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif edit == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = rng.choice((holder[key] + 1, holder[key] - 1, -holder[key], holder[key] * 2))
        else:
            holder[key] = copy.deepcopy(rng.choice(EXTREMES))
    return json.dumps(document).encode()


def _place(document: Any, rng: random.Random) -> tuple[Any, Any]:
    """A random container of the document and a key or index in it."""
    holder, key = None, None
    while isinstance(document, dict | list) and document:
        holder = document
        key = rng.choice(sorted(document)) if isinstance(document, dict) else rng.randrange(len(document))
        document = holder[key]
        if rng.random() < 0.3:
            break
    return holder, key
