"""Leveled RNS-CKKS and integer kernels: the engine of cipherformer (native code).

Conventions. `slots` = N/2 complex numbers are in a plaintext or ciphertext. A *level* is the number of
rescales that are left: level l has the residues modulo q_0 ... q_l. A *scale* is the factor between values
and integers; it is a float that each object carries. Every failure is a ValueError that says what, why and
what to do; a wrong dtype is a TypeError. Objects never change once made (KeySet excepted), may be used from
many threads, and heavy calls release the interpreter lock.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

def cpu_kernels() -> list[str]:
    """Instruction paths this machine can run, slowest first: "portable", "avx2", "avx512". All give equal
    bits."""

def max_log_qp(log_n: int, hamming_weight: int = 0) -> int:
    """Largest log2(Q P) with 128-bit classical security, 0 where the table has no row.

    hamming_weight 0 is a uniform ternary secret; 192 and above a sparse one (N = 2^15 and 2^16 only).
    Source: Homomorphic Encryption Security Guidelines (eprint 2024/463) and the 2018 standard.
    """

def generate_primes(log_n: int, bits: Sequence[int]) -> list[int]:
    """Distinct primes = 1 mod 2N, one per entry, nearest to 2^bits from both sides (50 bits: below)."""

def sha256(data: Buffer) -> bytes:
    """SHA-256, as used for the digest of parameters (32 bytes)."""

def ring_matmul(a: NDArray[np.uint64], b: NDArray[np.uint64], kernels: str = "auto") -> NDArray[np.uint64]:
    """a b modulo 2^64 for a [m, k] and b [k, n], strides of any kind but negative; one thread.

    Every path gives the same bits.
    """

def weighted_waves(
    values: NDArray[np.uint64],
    secrets: Buffer,
    width: int,
    table: NDArray[np.int64],
    kernels: str = "auto",
) -> NDArray[np.uint64]:
    """Sums of `secrets` [2K, n], packed, times cosines and sines of k values, from a table of a period's
    cosines."""

def complete_waves(
    shares: NDArray[np.uint8],
    width: int,
    mask: NDArray[np.uint64],
    pairs: NDArray[np.int64],
    table: NDArray[np.int64],
    kernels: str = "auto",
) -> None:
    """As `complete_bits`, for [2K, n]: u cos(k mask) - v sin(k mask) and u sin(k mask) + v cos(k mask) for
    each pair (u, v)."""

def pack_bits(values: NDArray[np.uint64], width: int) -> bytes:
    """The lowest `width` bits (1 to 64) of each value, without gaps, lowest bit first."""

def unpack_bits(data: Buffer, count: int, width: int) -> NDArray[np.uint64]:
    """`count` values of `width` bits from exactly (count width + 7) // 8 bytes."""

def complete_bits(shares: NDArray[np.uint8], values: NDArray[np.uint64], width: int, exclusive: bool) -> None:
    """Packed shares become, in place, value - share, or value ^ share."""

def keep_memory() -> None:
    """From now on this process keeps freed memory for its next arrays, the first of it in huge pages (GNU's C
    library; else nothing)."""

class Parameters:
    """A checked, immutable parameter set. Equal sets have equal digests.

    Args:
        log_n: log2 of the ring dimension N: 10 to 17 (insecure: from 3).
        moduli: q_0 ... q_L, distinct primes = 1 mod 2N of at most 50 bits; the last is divided out first.
        special_moduli: the factors of P, of the same form. P must not be smaller than any digit
            (to a tenth of a bit); 2^8 above it is best.
        digit_size: limbs per key-switching digit (alpha); dnum = ceil(len(moduli) / digit_size).
        hamming_weight: non-zero coefficients of the secret; 0 is uniform ternary.
        insecure: allow sets beyond the 128-bit table. For tests only.
    """

    def __init__(
        self,
        log_n: int,
        moduli: Sequence[int],
        special_moduli: Sequence[int],
        digit_size: int,
        hamming_weight: int = 0,
        insecure: bool = False,
    ) -> None: ...
    @property
    def log_n(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def moduli(self) -> list[int]: ...
    @property
    def special_moduli(self) -> list[int]: ...
    @property
    def digit_size(self) -> int: ...
    @property
    def dnum(self) -> int: ...
    @property
    def max_level(self) -> int: ...
    @property
    def hamming_weight(self) -> int: ...
    @property
    def insecure(self) -> bool: ...
    @property
    def log_qp(self) -> float:
        """log2(Q P)."""
    @property
    def security_bits(self) -> int:
        """128 within the table; an estimate proportional to 1 / log2(Q P) beyond it; 0 where nothing is
        known."""
    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes; every serialised object carries it."""
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: Buffer) -> Parameters: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

class Context:
    """Transforms, constants, memory and threads for one parameter set. Any number may exist in a process.

    Args:
        params: the parameter set.
        threads: threads that one call may use, the caller's included. Waiting threads sleep.
        kernels: "auto", or one of cpu_kernels().
    """

    def __init__(self, params: Parameters, threads: int = 1, kernels: str = "auto") -> None: ...
    @property
    def params(self) -> Parameters: ...
    @property
    def threads(self) -> int: ...
    @property
    def kernels(self) -> str: ...
    def trim(self) -> None:
        """Give unused working memory back to the system."""
    def encode(
        self,
        values: NDArray[np.float64] | NDArray[np.complex128],
        level: int,
        scale: float,
        extended: bool = False,
        compact: bool = False,
    ) -> Plaintext:
        """Encode a 1-D array whose length is a power of two that divides `slots`; a shorter one is tiled.

        A tiled vector of period s is stored in 2 s values per limb. `extended` adds the limbs of the
        special moduli. A `compact` one is kept as its 2 s integer coefficients, 4 bytes each if all are below
        2^31 and 8 otherwise, and each use transforms them; results are the same bits.
        ValueError: NaN or infinity, a wrong length, or a coefficient that reaches half the modulus or
        2^100.
        """
    def decode(self, plaintext: Plaintext) -> NDArray[np.complex128]:
        """All slots, shape [slots], divided by the scale."""
    def ciphertext(self, data: Buffer) -> Ciphertext:
        """Read a ciphertext; everything is checked first. ValueError for anything off."""
    def public_key(self, data: Buffer) -> PublicKey:
        """Read a public key; everything is checked first. ValueError for anything off."""
    def switching_key(self, data: Buffer) -> SwitchingKey:
        """Read a switching key, expand its seed; all is checked first. ValueError for anything off."""
    def linear_transform(
        self,
        rotations: Sequence[int],
        diagonals: NDArray[np.float64] | NDArray[np.complex128],
        level: int,
        scale: float,
        baby_step: int,
        compact: bool = False,
    ) -> LinearTransform:
        """Prepare x -> sum_d diagonals[d] * rotate(x, rotations[d]).

        Args:
            rotations: distinct modulo `slots`; rotation = giant + baby with 0 <= baby < baby_step,
                baby_step | giant.
            diagonals: shape [len(rotations), period]; each row is tiled to all slots.
            level: of the ciphertexts it is applied to (a lower one works, too).
            scale: of the diagonals.
            baby_step: as above; the baby rotations share one decomposition, each giant rotation costs a
                key switch.
            compact: keep the diagonals as Context.encode does; each application then costs one transform a
                diagonal and limb.
        """

class Plaintext:
    """An encoded vector."""

    @property
    def level(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def period(self) -> int:
        """Slots after which the vector repeats."""
    @property
    def extended(self) -> bool: ...
    @property
    def memory_bytes(self) -> int: ...

class LinearTransform:
    """A matrix as encoded diagonals (see Context.linear_transform)."""

    @property
    def level(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def rotations_needed(self) -> tuple[list[int], list[int]]:
        """(baby steps, giant steps), ascending, 0 included where used; rotation keys are needed for all
        but 0."""
    @property
    def memory_bytes(self) -> int: ...

class Ciphertext:
    """An encrypted vector."""

    @property
    def level(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def size(self) -> int:
        """2, or 3 for a product that is not relinearised."""
    @property
    def digest(self) -> bytes:
        """Of the parameters."""
    def set_scale(self, scale: float) -> Ciphertext:
        """The same ciphertext under another scale label: divides the values by scale / self.scale at no
        cost."""
    def copy(self) -> Ciphertext: ...
    def to_bytes(self) -> bytes:
        """Residues in ceil(log2 q) bits; fresh from SecretKey.encrypt, with a seed for the second half."""

class PublicKey:
    """Encrypts; contains no secret."""

    def encrypt(self, plaintext: Plaintext) -> Ciphertext: ...
    def rerandomise(self, ciphertext: Ciphertext, flood_bits: int) -> Ciphertext:
        """A fresh ciphertext of the same message: adds an encryption of zero, and to each coefficient an
        error that is uniform in [-2^flood_bits, 2^flood_bits). ValueError: 3 parts, or no room for it."""
    def to_bytes(self) -> bytes: ...

class SwitchingKey:
    """A relinearisation, rotation or conjugation key, cut to a level; contains no secret."""

    @property
    def kind(self) -> str:
        """ "relinearise", "rotate", "conjugate", "encapsulate" or "decapsulate"."""
    @property
    def steps(self) -> int:
        """Slots to the left, in [0, slots)."""
    @property
    def level(self) -> int:
        """The highest level of a ciphertext that it can switch."""
    @property
    def size_bytes(self) -> int:
        """Length of to_bytes()."""
    @property
    def memory_bytes(self) -> int: ...
    def to_bytes(self) -> bytes:
        """The uniform half is written as its 32-byte seed."""

class SecretKey:
    """The secret. Only a client constructs it; its memory is overwritten when it is destroyed.

    Args:
        context: the parameters to use.
        seed: 32 secret bytes that determine the key (not the randomness of encryption); None draws a
            fresh key.
    """

    def __init__(self, context: Context, seed: bytes | None = None) -> None: ...
    def encrypt(self, plaintext: Plaintext) -> Ciphertext: ...
    def decrypt(self, ciphertext: Ciphertext) -> Plaintext: ...
    def public_key(self) -> PublicKey: ...
    def relinearisation_key(self, level: int) -> SwitchingKey: ...
    def rotation_key(self, steps: int, level: int) -> SwitchingKey: ...
    def conjugation_key(self, level: int) -> SwitchingKey: ...
    def encapsulation_key(self) -> SwitchingKey:
        """To the ephemeral sparse secret; modulo q_0 and one special prime only."""
    def decapsulation_key(self, level: int) -> SwitchingKey:
        """From the ephemeral secret back, for Evaluator.raise_modulus to `level`."""
    def to_bytes(self) -> bytes:
        """The secret itself: keep it where only the client reads it."""
    @staticmethod
    def from_bytes(context: Context, data: Buffer) -> SecretKey: ...

class KeySet:
    """Switching keys for an evaluator; of several levels the lowest sufficient one is taken."""

    def __init__(self, context: Context) -> None: ...
    def add(self, key: SwitchingKey) -> None: ...
    def has_rotation(self, steps: int, level: int) -> bool:
        """True when rotate(a, steps) works for a ciphertext at `level`."""
    def has(self, kind: str, steps: int, level: int) -> bool:
        """The same for any kind; steps is 0 except for "rotate"."""
    def remove(self, kind: str, steps: int = 0) -> bool:
        """Forget a key at every level; False when there was none."""
    def memory_bytes(self) -> int: ...
    def __len__(self) -> int: ...

class Evaluator:
    """Arithmetic without the secret key.

    Binary operations drop the operand of the higher level. Addition needs scales that agree to a relative
    2^-30. Multiplication multiplies scales and does not rescale unless `rescale=True`, which is cheaper
    than a call of its own after a key switch. ValueError: other parameters, scales, levels, a missing
    key, a scale that reaches the modulus.
    """

    def __init__(self, context: Context, keys: KeySet) -> None: ...
    @property
    def threads(self) -> int: ...
    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def sub(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def add_many(self, terms: Sequence[Ciphertext]) -> Ciphertext: ...
    def negate(self, a: Ciphertext) -> Ciphertext: ...
    def add_plain(self, a: Ciphertext, b: Plaintext) -> Ciphertext: ...
    def sub_plain(self, a: Ciphertext, b: Plaintext) -> Ciphertext: ...
    def mul_plain(self, a: Ciphertext, b: Plaintext) -> Ciphertext: ...
    def add_scalar(self, a: Ciphertext, x: float) -> Ciphertext:
        """Add x to every slot."""
    def mul_scalar_int(self, a: Ciphertext, x: int) -> Ciphertext:
        """Times a 64-bit integer; the scale stays."""
    def mul_scalar(self, a: Ciphertext, x: float, scale: float) -> Ciphertext:
        """Times x, as the integer round(x * scale); the scale is multiplied by `scale`."""
    def multiply(
        self, a: Ciphertext, b: Ciphertext, relinearise: bool = True, rescale: bool = False
    ) -> Ciphertext: ...
    def dot(self, a: Sequence[Ciphertext], b: Sequence[Ciphertext]) -> Ciphertext:
        """The sum of the products, with 3 parts. Levels and scales agree within each list."""
    def mix(
        self, a: Sequence[Ciphertext], weights: NDArray[np.float64], factor: float, scale: float
    ) -> list[Ciphertext]:
        """factor * weights @ a for integers, rescaled, at `scale` times a's; rows sum to 2^28 at most."""
    def square(self, a: Ciphertext, relinearise: bool = True, rescale: bool = False) -> Ciphertext: ...
    def relinearise(self, a: Ciphertext, rescale: bool = False) -> Ciphertext:
        """From 3 parts to 2."""
    def rescale(self, a: Ciphertext) -> Ciphertext:
        """Divide by the last prime, rounding to nearest; one level down, the scale divided by the prime."""
    def drop_level(self, a: Ciphertext, level: int) -> Ciphertext:
        """Forget limbs; values and scale stay. Costs nothing."""
    def rotate(self, a: Ciphertext, steps: int) -> Ciphertext:
        """Slot i of the result is slot (i + steps) mod slots of a."""
    def rotate_hoisted(self, a: Ciphertext, steps: Sequence[int]) -> list[Ciphertext]:
        """Several rotations of one ciphertext with a shared decomposition; equal to rotate bit for bit."""
    def conjugate(self, a: Ciphertext) -> Ciphertext: ...
    def raise_modulus(self, a: Ciphertext, level: int) -> Ciphertext:
        """From level 0 to `level`; the plaintext becomes m + q_0 I with a small polynomial I. Needs the two
        keys of encapsulation."""
    def apply(self, transform: LinearTransform, a: Ciphertext, rescale: bool = False) -> Ciphertext:
        """sum_d diagonal_d * rotate(a, rotation_d); the scale is multiplied by the transform's."""

class FixedProgram:
    """A chain of elementwise operations on exact integers, run block by block in the cache.

    Args:
        code: instructions (op, out, a, b, key) on registers: 0 constant a, 1 load input a, 2 store a as
            output `out`, 3 add, 4 subtract, 5 multiply, 6 a 2^b, 7 floor(a / 2^b + 1/2), 8 floor((a + r) /
            2^b) with r below 2^b from the tape of `key`, 9 counts of the entries of table b that are <= a,
            10 the entry of table b at counts a.
        values: constants as (high signed word, low word).
        tables: ascending thresholds, or entries; likewise.
        inputs: number of operands.
        outputs: number of results.
        threads: that share the blocks.
        kernels: "auto", "portable" or "avx2"; all give equal results.
    """

    def __init__(
        self,
        code: Sequence[tuple[int, int, int, int, int]],
        values: Sequence[tuple[int, int]],
        tables: Sequence[Sequence[tuple[int, int]]],
        inputs: int,
        outputs: int,
        threads: int = 1,
        kernels: str = "auto",
    ) -> None: ...
    def run(
        self,
        carrier: int,
        shape: Sequence[int],
        inputs: list[NDArray[np.generic]],
        outputs: list[NDArray[np.generic]],
    ) -> tuple[bool, list[int], list[float]]:
        """Run over arrays of one shape (broadcast views included) of float64, int64 or pairs of words.

        Returns whether every result fits the carrier (0 doubles, 1 words, 2 pairs); if so the outputs are
        written, and for each instruction the bit length of its largest |result|, and in doubles that itself.
        """
