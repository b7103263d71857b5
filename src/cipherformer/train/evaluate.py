"""Scores of models: classification, perplexity, and multiple choice by likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cipherformer.capture.export import evaluation
from cipherformer.train.data import IGNORED, Part, embed
from cipherformer.train.metrics import accuracy, is_regression, metrics_of, pearson


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model does.

    Args:
        accuracy: share of right answers, of next tokens for a language model; Pearson's correlation where
            labels are numbers.
        loss: mean cross-entropy, nats; mean square error where labels are numbers.
        perplexity: its exponential, for a language model; None for a classifier.
        count: answers that were scored.
        metrics: others that were asked for, by name.
    """

    accuracy: float
    loss: float
    perplexity: float | None
    count: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def interval(self) -> float:
        """Half width of the 95% interval of the accuracy (normal approximation)."""
        return 1.96 * math.sqrt(max(self.accuracy * (1.0 - self.accuracy), 1e-12) / max(self.count, 1))


def score(model: nn.Module, part: Part, *, batch_size: int = 250, metrics: tuple[str, ...] = ()) -> Score:
    """Score a model in evaluation mode; labels of -100 are left out.

    Args:
        model: [B, ...] -> logits [B, K] or [B, L, V], or numbers [B, 1] for labels that are numbers.
        part: inputs and labels.
        batch_size: inputs at a time.
        metrics: names of others, see `train.metrics`.
    """
    numbers = is_regression(part.labels)
    answers, labels, loss = [], [], 0.0
    with evaluation(model), torch.no_grad():
        for batch in part.batches(batch_size):
            logits = model(*batch.fed(model)).float()
            wanted = batch.labels.flatten()
            if numbers:
                answers.append(logits.flatten())
                loss += float((logits.flatten() - wanted).square().sum())
            else:
                logits = logits.flatten(0, -2)
                loss += float(F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum"))
                kept = wanted != IGNORED
                answers.append(logits.argmax(dim=-1)[kept])
                wanted = wanted[kept]
            labels.append(wanted)
    found, known = torch.cat(answers), torch.cat(labels)
    mean = loss / max(len(known), 1)
    perplexity = math.exp(min(mean, 80.0)) if part.labels.dim() > 1 else None
    share = (pearson if numbers else accuracy)(found, known) if len(known) else 0.0
    others = {name: metric(found, known) for name, metric in metrics_of(metrics).items()}
    return Score(share, mean, perplexity, len(known), others)


@dataclass(frozen=True, eq=False)
class Choice:
    """A question with answers, as tokens: `context` [L], `answers` of any lengths, `right` the number of
    one.
    """

    context: Tensor
    answers: tuple[Tensor, ...]
    right: int


def continuation(model: nn.Module, context: Tensor, answer: Tensor) -> tuple[float, bool]:
    """The log-likelihood of tokens after others [L], and whether the model itself would write them, greedily.

    Args:
        model: embedded tokens [1, L, width] -> logits [1, L, V], as `capture.pretrained.wrapped` makes it.
        context: not empty.
        answer: not empty.
    """
    tokens = torch.cat([context, answer])[None]
    with torch.no_grad():
        logits = model(embed(model, tokens[:, :-1]))[0, len(context) - 1 :].float()
    logs = F.log_softmax(logits, dim=-1).gather(1, answer[:, None])
    return float(logs.sum()), bool((logits.argmax(dim=-1) == answer).all())


def likelihoods(model: nn.Module, choice: Choice) -> list[tuple[float, int]]:
    """The log-likelihood of each answer after the context, and its number of tokens; see `continuation`."""
    return [(continuation(model, choice.context, answer)[0], len(answer)) for answer in choice.answers]


def few_shot(
    choices: Sequence[Choice], examples: Sequence[Choice], gap: Tensor | None = None
) -> list[Choice]:
    """The questions, each behind the same examples with their right answers: in-context learning.

    Args:
        choices: asked.
        examples: shown first; none of them should be asked.
        gap: tokens between an example and what follows, for instance of a new line.
    """
    between = torch.empty(0, dtype=torch.long) if gap is None else gap
    shown = [t for e in examples for t in (e.context, e.answers[e.right], between)]
    return [replace(c, context=torch.cat([*shown, c.context])) for c in choices]


def multiple_choice(model: nn.Module, choices: Sequence[Choice], *, by_length: bool = True) -> float:
    """Share of questions whose right answer is the likeliest, by token if `by_length`."""
    right = 0
    for choice in choices:
        found = [total / (length if by_length else 1) for total, length in likelihoods(model, choice)]
        right += found.index(max(found)) == choice.right
    return right / len(choices)


def last_word(model: nn.Module, choices: Sequence[Choice]) -> float:
    """Share of contexts whose one answer the model itself would write, greedily: the score of LAMBADA."""
    return sum(continuation(model, c.context, c.answers[0])[1] for c in choices) / len(choices)
