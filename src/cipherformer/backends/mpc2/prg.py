"""Streams of uniform bits: AES-256 in counter mode, addressed by what they are for, never by a position.

The stream (seed, version, step, slot) is always the same, and no two of them share a counter block: the key
is a hash of seed and version, the upper half of the counter block is (step, slot), the lower half counts.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from cipherformer.backends.mpc2.ring import U64, WORD

SEED_BYTES = 32
_BLOCK_BYTES = 16


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

    def draw(self, step: int, slot: int, shape: tuple[int, ...], width: int) -> NDArray[np.uint64]:
        """Uniform integers below 2^width."""
        dtype = np.dtype(f"u{1 if width <= 8 else 2 if width <= 16 else 4 if width <= 32 else 8}")
        count = int(np.prod(shape, dtype=np.int64))
        counter = step.to_bytes(6, "big") + slot.to_bytes(2, "big") + bytes(8)
        encryptor = Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
        size = count * dtype.itemsize
        stream = np.empty(size + _BLOCK_BYTES, np.uint8)  # the library wants room for a block more
        encryptor.update_into(np.zeros(size, np.uint8).data, stream.data)
        values = stream[:size].view(dtype.newbyteorder("<")).astype(U64, copy=False).reshape(shape)
        if width < WORD:
            values &= U64((1 << width) - 1)
        return values
