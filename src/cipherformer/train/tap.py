"""Matching a student's inner values with its teacher's: the same module paths in both."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from cipherformer.nn import Softmax
from cipherformer.train.losses import matching_loss
from cipherformer.train.sites import ACTIVATIONS, is_norm
from cipherformer.train.stage import Stage


class Taps:
    """While open, notes what teacher and student compute at the teacher's sites; `loss` compares and forgets.

    Hidden states: behind every activation and norm of the teacher. Scores: before every weighting, masked
    ones left out. A module that a model calls several times a step counts each time.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, stage: Stage) -> None:
        self._models = (teacher, student)
        self._hidden = [
            n for n, m in teacher.named_modules() if n and (isinstance(m, ACTIVATIONS) or is_norm(m))
        ]
        self._scores = [n for n, m in teacher.named_modules() if isinstance(m, Softmax)]
        self._hidden = self._hidden if stage.hidden else []
        self._scores = self._scores if stage.scores else []
        self._noted: tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]] = ({}, {})
        self._handles: list[Any] = []

    def __enter__(self) -> Taps:
        for model, noted in zip(self._models, self._noted, strict=True):
            for name in self._hidden:
                self._handles.append(model.get_submodule(name).register_forward_hook(_after(noted, name)))
            for name in self._scores:
                self._handles.append(
                    model.get_submodule(name).register_forward_pre_hook(_before(noted, name))
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def loss(self, stage: Stage) -> Tensor:
        """The weighted means over sites of `matching_loss`, as a number that has a gradient; 0 without
        sites.
        """
        teacher, student = self._noted
        total = torch.zeros(())
        for names, weight in ((self._hidden, stage.hidden), (self._scores, stage.scores)):
            pairs = [p for n in names for p in zip(student.get(n, []), teacher.get(n, []), strict=True)]
            for s, t in pairs:
                total = total + weight / len(pairs) * matching_loss(s, t)
        self.forget()
        return total

    def forget(self) -> None:
        """Throw away what was noted."""
        for noted in self._noted:
            noted.clear()


def _after(noted: dict[str, list[Tensor]], name: str) -> Any:
    def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
        noted.setdefault(name, []).append(output)

    return hook


def _before(noted: dict[str, list[Tensor]], name: str) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        scores, mask = args[0], args[1] if len(args) > 1 else None
        noted.setdefault(name, []).append(scores if mask is None else scores * mask.to(scores.dtype))

    return hook
