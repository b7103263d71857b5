"""What client and server need from a plan and a backend, and nothing more. No engine is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherformer.plan.signature import Signature

Log = Callable[[str, Mapping[str, Any]], None]
"""Takes one event of the server: its name and its facts (never a key, a query or an answer)."""

Input = NDArray[np.float64] | Mapping[str, NDArray[np.float64]]
"""A model's input, or one array for each of its inputs."""

OnStep = Callable[[int, int], None]
"""Called by an evaluation with (steps done, steps in all). It may raise to stop the evaluation."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the protocol checks of a plan.

    Args:
        fingerprint: of the plan, 64 hexadecimal digits.
        parameters: SHA-256 of the encryption parameters, 64 hexadecimal digits.
        keys: names of the evaluation keys that a client must hand over.
        queries: ciphertexts in one query.
        answers: ciphertexts in one answer.
    """

    fingerprint: str
    parameters: str
    keys: tuple[str, ...]
    queries: int
    answers: int

    @staticmethod
    def of(signature: Signature) -> PlanFacts:
        """The facts in a plan's signature."""
        queries, answers = len(signature.inputs), len(signature.outputs)
        return PlanFacts(signature.fingerprint, signature.parameters, signature.keys, queries, answers)

    def __post_init__(self) -> None:
        for digest in (self.fingerprint, self.parameters):
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError(f"not a SHA-256 in hexadecimal: {digest!r}")


class Evaluation(Protocol):
    """The server's side of a backend: one plan with one client's evaluation keys."""

    def add_key(self, name: str, data: bytes, reread: Callable[[], bytes] | None = None, /) -> None:
        """Takes one evaluation key; `reread` gives its bytes again, so that it need not stay in memory.

        Raises:
            KeyMismatchError: if it belongs to other parameters.
            FormatError: if it is malformed.
        """

    def missing_keys(self) -> Iterable[str]:
        """Names of the keys that are still needed."""

    def layer(self, position: int, /) -> str:
        """Module path in the user's model of a step, counted from 0."""

    def run(self, query: list[bytes], on_step: OnStep | None = None) -> tuple[list[bytes], Any]:
        """Answers one query; also returns the trace, an object with `records`.

        Raises:
            FormatError: if a ciphertext is malformed.
        """


class Cipher(Protocol):
    """The client's side of a backend: the holder of the secret key."""

    def encrypt(self, x: Input, /) -> list[bytes]:
        """Checks and encrypts one input.

        Raises:
            DataError: on NaN, a wrong shape, or a value out of the calibrated range.
        """

    def decrypt(self, answer: list[bytes], /) -> NDArray[np.float64]:
        """Decrypts one answer."""


def trace_records(trace: Any) -> list[dict[str, Any]]:
    """The records of a trace as plain dictionaries {layer, node, primitive, calls, seconds}."""
    records: Sequence[Any] = getattr(trace, "records", trace)
    names = ("layer", "node", "primitive", "calls", "seconds")
    return [
        {name: (item[name] if isinstance(item, Mapping) else getattr(item, name)) for name in names}
        for item in records
    ]
