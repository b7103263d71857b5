"""Makes damaged copies of valid bytes."""

from __future__ import annotations

import random

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
