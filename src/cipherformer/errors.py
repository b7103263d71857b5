"""Every exception that the library raises on purpose.

An error says what went wrong, where (module path or file), why, and what to do. The tree:

    CipherformerError
      ModelError        the model cannot be made private as it stands
      CompileError      a compiler inconsistency: a bug in cipherformer
      LimitError        a limit that the user set, or that the target has, is exceeded
      ParameterError    an unusable cryptographic parameter set
      DataError         input that does not fit: shape, type, range, NaN
      FormatError       bytes or a file that is not what it should be
      KeyMismatchError  a key that is missing, or belongs to other parameters
      ProtocolError     the other side broke the protocol, or went away
"""

from __future__ import annotations


class CipherformerError(Exception):
    """Base of all errors of this package.

    Args:
        what: what went wrong, one sentence.
        where: module path, file or message it happened at.
        why: the reason, if it is known.
        fix: what the reader can do about it.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        parts = [f"{where}: {what}" if where else what]
        if why:
            parts.append(f"why: {why}")
        if fix:
            parts.append(f"fix: {fix}")
        super().__init__("\n  ".join(parts))


class ModelError(CipherformerError):
    """The model cannot be made private as it stands."""


class CompileError(CipherformerError):
    """A compiler inconsistency. It is a bug in cipherformer, not in the user's model."""

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(
            what, where=where, why=why, fix=fix or "this is a bug in cipherformer: please report it"
        )


class LimitError(CipherformerError):
    """A limit that the user set, or that the target has, is exceeded."""


class ParameterError(CipherformerError):
    """A cryptographic parameter set that is inconsistent or not secure."""


class DataError(CipherformerError):
    """Input data with a wrong shape, type or range, or with NaN."""


class FormatError(CipherformerError):
    """Bytes or a file that is not what its reader expects."""


class KeyMismatchError(CipherformerError):
    """A key that is missing, or that belongs to another parameter set."""


class ProtocolError(CipherformerError):
    """The other side broke the protocol, or went away."""
