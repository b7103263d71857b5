"""Streams of uniform bits: AES-256 in counter mode, addressed by what they are for, never by a position.

The stream (seed, version, step, slot) is always the same, and no two of them share a counter block: the key
is a hash of seed and version, the upper half of the counter block is (step, slot), the lower half counts.
"""

from __future__ import annotations

import hashlib
import secrets
from math import prod

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from cipherformer.backends.mpc2.ring import packed_bytes, unpacked

SEED_BYTES = 32
_BLOCK_BYTES = 16
_ZEROS = memoryview(bytes(1 << 18))


def fresh_seed() -> bytes:
    """A seed from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


class Stream:
    """Uniform arrays from one seed and version.

    Args:
        seed: 32 secret bytes.
        version: what separates one use of a program from the next: `model`, or session and number of the
            query.

    >>> Stream(bytes(32), b"a").draw(3, 0, (2,), 8).tolist() == Stream(bytes(32), b"a").draw(3, 0, (2,),
    8).tolist() True
    """

    def __init__(self, seed: bytes, version: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("a seed is 32 bytes")
        self._key = hashlib.sha256(b"cipherformer mpc2 stream" + seed + version).digest()

    def packed(self, step: int, slot: int, shape: tuple[int, ...], width: int) -> NDArray[np.uint8]:
        """What `draw` gives, as `ring.packed` has it; bits behind the last integer are arbitrary."""
        counter = step.to_bytes(6, "big") + slot.to_bytes(2, "big") + bytes(8)
        encryptor = Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
        size = packed_bytes(prod(shape), width)
        stream = np.empty(size + _BLOCK_BYTES, np.uint8)  # the library wants room for a block more
        view = stream.data
        for start in range(0, size, len(_ZEROS)):
            encryptor.update_into(_ZEROS[: size - start], view[start:])
        return stream[:size]

    def draw(self, step: int, slot: int, shape: tuple[int, ...], width: int) -> NDArray[np.uint64]:
        """Uniform integers below 2^width."""
        return unpacked(self.packed(step, slot, shape, width).data, shape, width)
