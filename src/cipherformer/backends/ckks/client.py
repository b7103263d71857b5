"""The client's half: the secret key, encryption, and the only place where anything is decrypted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer import _native as native
from cipherformer.backends.ckks.engine import make_context, reading
from cipherformer.errors import DataError, FormatError, ParameterError
from cipherformer.plan.signature import Signature

MIN_SECURITY_BITS = 128


class ClientKeys:
    """A secret key for one parameter set, and what a client does with it.

    Args:
        signature: of the plan.
        secret: the engine's key; made by `generate_keys` or `ClientKeys.load`.
        context: the engine's context that the key belongs to.
    """

    def __init__(self, signature: Signature, secret: native.SecretKey, context: native.Context) -> None:
        self.signature = signature
        self._secret = secret
        self._context = context

    def evaluation_keys(self) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of every key that the plan needs, one at a time, each cut to its level. The memory
        that making them took is given back in the end."""
        for name, level in self.signature.key_levels.items():
            yield name, self._evaluation_key(name, level).to_bytes()
        self._context.trim()

    def _evaluation_key(self, name: str, level: int) -> native.SwitchingKey | native.PublicKey:
        match name.split("-"):
            case ["relinearise"]:
                return self._secret.relinearisation_key(level)
            case ["public"]:
                return self._secret.public_key()
            case ["conjugate"]:
                return self._secret.conjugation_key(level)
            case ["encapsulate"]:
                return self._secret.encapsulation_key()
            case ["decapsulate"]:
                return self._secret.decapsulation_key(level)
            case ["rotate", steps]:
                return self._secret.rotation_key(int(steps), level)
        raise ParameterError(f"a signature with an unknown key {name!r}")

    def encrypt(self, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> list[bytes]:
        """Pack, check and encrypt one query.

        Raises:
            DataError: NaN, wrong shape, or values outside the calibrated range.
        """
        out = []
        for spec, slots in zip(self.signature.inputs, self.signature.pack(x), strict=True):
            plain = self._context.encode(np.ascontiguousarray(slots), spec.level, spec.scale)
            out.append(self._secret.encrypt(plain).to_bytes())
        return out

    def decrypt(self, answer: list[bytes]) -> NDArray[np.float64]:
        """The model's output.

        Raises:
            FormatError: a malformed ciphertext.
            KeyMismatchError: one made for other parameters.
            DataError: the decrypted values are not finite, or beyond what the plan can give.
        """
        slots = []
        for data in answer:
            with reading("the answer"):
                ciphertext = self._context.ciphertext(data)
            slots.append(self._context.decode(self._secret.decrypt(ciphertext)))
        out = self.signature.unpack(slots)
        if not np.isfinite(out).all():
            raise DataError(
                "the answer is not finite", why="it was damaged, or a value left its calibrated range"
            )
        return out

    def save_secret(self, path: str | Path) -> Path:
        """Write the secret key to a file that only its owner may read (mode 0600); an existing file is
        refused."""
        path = Path(path)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise FormatError(
                "a secret key stands there already",
                where=str(path),
                fix="choose another folder, or remove it",
            ) from error
        with os.fdopen(handle, "wb") as file:
            file.write(self._secret.to_bytes())
        return path

    @staticmethod
    def load(signature: Signature, path: str | Path) -> ClientKeys:
        """Read a secret key.

        Raises:
            FormatError: unreadable, or not a secret key.
            KeyMismatchError: made for other parameters than the signature's.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise FormatError("no readable secret key", where=str(path), why=error.strerror or "") from error
        context = make_context(signature.target)
        with reading("the secret key"):
            return ClientKeys(signature, native.SecretKey.from_bytes(context, data), context)


def release(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Answers that may leave the client: rounded to multiples of 2^-bits.

    A decrypted CKKS value carries the error of its ciphertext, and with the ciphertext that error gives
    the secret key away (Li and Micciancio, EUROCRYPT 2021, section 3). A rounded value shows it only where
    it stands at a rounding boundary: for an error e, with a probability of about 2 |e| 2^bits a value.
    Leave 2^-bits far above the plan's `predicted_rms_error`.
    """
    return np.asarray(np.round(np.ldexp(values, bits)) * 2.0**-bits, dtype=np.float64)


def generate_keys(
    signature: Signature, *, insecure: bool = False, seed: bytes | None = None, threads: int = 1
) -> ClientKeys:
    """A new secret key for a plan.

    Args:
        signature: of the plan.
        insecure: accept parameters below 128 bits of security. The signature comes from the server's side, so
            this is the client's own decision.
        seed: 32 bytes for a reproducible secret in tests; by default the operating system's generator.
        threads: of the engine.

    Raises:
        ParameterError: if the parameters are not secure.
    """
    target = signature.target
    if not insecure and (target.insecure or target.security_bits < MIN_SECURITY_BITS):
        raise ParameterError(
            f"this plan's parameters are not secure: fewer than {MIN_SECURITY_BITS} bits",
            where=f"N = 2^{target.log_n}, log2(QP) = {target.log_qp:.0f}",
            why="with keys for them the server could read the inputs",
            fix="compile with secure parameters; for tests only, allow it with `--insecure` (insecure=True)",
        )
    context = make_context(target, threads=threads)
    return ClientKeys(signature, native.SecretKey(context, seed), context)
