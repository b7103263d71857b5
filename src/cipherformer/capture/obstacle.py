"""What stands between a model and its private form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cipherformer.errors import ModelError


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing in a model that cannot be captured or made private.

    Args:
        where: module path.
        what: the operation or property.
        why: the reason.
        fix: what the model's owner can do.
    """

    where: str
    what: str
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where or 'the model'}: {self.what}; {self.why}; fix: {self.fix}"


class Refusal(Exception):  # noqa: N818 - never leaves the package: it becomes an Obstacle with its place
    """Raised by an importer for an op that it cannot take."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix


def refuse(obstacles: Sequence[Obstacle], name: str) -> ModelError:
    """All obstacles as one error."""
    return ModelError(
        f"{len(obstacles)} obstacle{'s' if len(obstacles) != 1 else ''} to a private form",
        where=name,
        why="\n".join(f"- {o.where or 'the model'}: {o.what}: {o.why}" for o in obstacles),
        fix="; ".join(dict.fromkeys(o.fix for o in obstacles)),
    )
