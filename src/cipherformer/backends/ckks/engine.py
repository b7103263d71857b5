"""Contexts from targets, and the engine's refusals as the package's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cipherformer import _native as native
from cipherformer.errors import FormatError, KeyMismatchError, ParameterError
from cipherformer.targets.ckks import CkksTarget


def make_context(target: CkksTarget, *, threads: int = 1, kernels: str = "auto") -> native.Context:
    """An engine context; the engine checks the parameters once more.

    Raises:
        ParameterError: if the engine refuses them.
    """
    try:
        parameters = native.Parameters(
            target.log_n,
            list(target.moduli),
            list(target.special_moduli),
            target.digit_size,
            target.hamming_weight,
            insecure=target.insecure,
        )
        return native.Context(parameters, threads=threads, kernels=kernels)
    except ValueError as error:
        raise ParameterError("the engine refuses the parameters", why=str(error)) from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns the refusal of bytes into a `FormatError`, or `KeyMismatchError` for other parameters."""
    try:
        yield
    except ValueError as error:
        kind = KeyMismatchError if "other parameters" in str(error) else FormatError
        raise kind(
            f"{what} is not usable", why=str(error), fix="make it for this plan, and send it again"
        ) from error


def kernel_path() -> str:
    """The fastest kernels that this processor has: `avx512`, `avx2` or `portable`."""
    return str(native.cpu_kernels()[-1])
