"""Scores of models: classification, perplexity, and multiple choice by likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cipherformer.capture.export import evaluation
from cipherformer.train.data import IGNORED, Part, embed


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model does.

    Args:
        accuracy: share of right answers, of next tokens for a language model.
        loss: mean cross-entropy, nats.
        perplexity: its exponential, for a language model; None for a classifier.
        count: answers that were scored.
    """

    accuracy: float
    loss: float
    perplexity: float | None
    count: int

    def interval(self) -> float:
        """Half width of the 95% interval of the accuracy (normal approximation)."""
        return 1.96 * math.sqrt(max(self.accuracy * (1.0 - self.accuracy), 1e-12) / max(self.count, 1))


def score(model: nn.Module, part: Part, *, batch_size: int = 250) -> Score:
    """Score a model in evaluation mode; labels of -100 are left out."""
    right, count, loss = 0, 0, 0.0
    with evaluation(model), torch.no_grad():
        for batch in part.batches(batch_size):
            logits = model(*batch.fed(model)).flatten(0, -2).float()
            wanted = batch.labels.flatten()
            kept = wanted != IGNORED
            right += int((logits.argmax(dim=-1) == wanted)[kept].sum())
            loss += float(F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum"))
            count += int(kept.sum())
    mean = loss / max(count, 1)
    perplexity = math.exp(min(mean, 80.0)) if part.labels.dim() > 1 else None
    return Score(right / max(count, 1), mean, perplexity, count)


@dataclass(frozen=True, eq=False)
class Choice:
    """A question with answers, as tokens: `context` [L], `answers` of any lengths, `right` the number of
    one.
    """

    context: Tensor
    answers: tuple[Tensor, ...]
    right: int


def likelihoods(model: nn.Module, choice: Choice) -> list[tuple[float, int]]:
    """The log-likelihood of each answer after the context, and its number of tokens.

    Args:
        model: embedded tokens [1, L, width] -> logits [1, L, V], as `capture.pretrained.wrapped` makes it.
        choice: the context must not be empty.
    """
    out = []
    for answer in choice.answers:
        tokens = torch.cat([choice.context, answer])[None]
        with torch.no_grad():
            logs = F.log_softmax(model(embed(model, tokens[:, :-1])).float(), dim=-1)[0]
        at = torch.arange(len(choice.context) - 1, tokens.shape[1] - 1)
        out.append((float(logs[at, answer].sum()), len(answer)))
    return out


def multiple_choice(model: nn.Module, choices: Sequence[Choice], *, by_length: bool = True) -> float:
    """Share of questions whose right answer is the likeliest, by token if `by_length`."""
    right = 0
    for choice in choices:
        found = [total / (length if by_length else 1) for total, length in likelihoods(model, choice)]
        right += found.index(max(found)) == choice.right
    return right / len(choices)


def last_word(model: nn.Module, choices: Sequence[Choice]) -> float:
    """Share of contexts whose one answer the model itself would write, greedily: the score of LAMBADA."""
    right = 0
    for choice in choices:
        (answer,) = choice.answers
        tokens = torch.cat([choice.context, answer])[None]
        with torch.no_grad():
            logits = model(embed(model, tokens[:, :-1]))[0]
        right += bool((logits[len(choice.context) - 1 :].argmax(dim=-1) == answer).all())
    return right / len(choices)
