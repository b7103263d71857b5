"""The tasks of lm-evaluation-harness, where it is installed, on language models in private form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cipherformer.errors import DataError
from cipherformer.train.data import embed
from cipherformer.train.evaluate import continuation

MOST_NEW = 64
"""Tokens that are written at most where a task does not say."""


def harness_scores(
    model: nn.Module,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    length: int,
    shots: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Scores of tasks by name, as `lm_eval.simple_evaluate` gives them.

    Args:
        model: embedded tokens [1, L, width] -> logits [1, L, V], in evaluation mode.
        tokenizer: of transformers.
        tasks: names of the harness.
        length: most tokens of a context with its answer; the beginning of longer ones is left out.
        shots: examples in front of each question.
        limit: questions of each task; None for all.

    Raises:
        DataError: the harness is not installed.
    """
    harness = _harness()
    wrapped = harness_model(model, tokenizer, length=length)
    found: Mapping[str, Any] = harness.simple_evaluate(
        model=wrapped, tasks=list(tasks), num_fewshot=shots, limit=limit
    )
    return dict(found["results"])


def harness_model(model: nn.Module, tokenizer: Any, *, length: int) -> Any:
    """The model as an `lm_eval.api.model.LM`; see `harness_scores`."""
    base = _harness().api.model.LM

    class Private(base):  # type: ignore[misc, valid-type]
        """Likelihoods and greedy texts of the model."""

        def loglikelihood(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
            """Of each answer after its context, and whether it would be written greedily."""
            return [_answered(model, *_pair(tokenizer, *r.args, length=length)) for r in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
            """Of whole texts, in windows that do not overlap."""
            return [
                sum(_answered(model, *pair)[0] for pair in _windows(tokenizer, r.args[0], length))
                for r in requests
            ]

        def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
            """Greedy texts up to the first of the strings in `until`."""
            return [_written(model, tokenizer, *r.args, length=length) for r in requests]

    return Private()


def _harness() -> Any:
    try:
        import lm_eval
        import lm_eval.api.model
    except ImportError as error:
        raise DataError(
            "lm-evaluation-harness is not installed",
            why=str(error),
            fix="pip install lm-eval, or use train.evaluate.multiple_choice",
        ) from error
    return lm_eval


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _start(tokenizer: Any) -> list[int]:
    """What stands in front of an empty context."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [0 if first is None else first]


def _pair(tokenizer: Any, context: str, answer: str, *, length: int) -> tuple[Tensor, Tensor]:
    """Tokens of a context and of what follows; the two are split where the context's own tokens end."""
    before = _tokens(tokenizer, context)
    whole = _tokens(tokenizer, context + answer)
    after = whole[len(before) :] if whole[: len(before)] == before else _tokens(tokenizer, answer)
    kept = (before or _start(tokenizer))[-max(1, length - len(after)) :]
    return torch.tensor(kept), torch.tensor(after, dtype=torch.long)


def _windows(tokenizer: Any, text: str, length: int) -> list[tuple[Tensor, Tensor]]:
    tokens = [*_start(tokenizer), *_tokens(tokenizer, text)]
    cuts = range(0, len(tokens) - 1, length - 1)
    return [(torch.tensor(tokens[c : c + 1]), torch.tensor(tokens[c + 1 : c + length])) for c in cuts]


def _answered(model: nn.Module, context: Tensor, answer: Tensor) -> tuple[float, bool]:
    if not len(answer):
        return 0.0, True
    return continuation(model, context, answer)


def _written(
    model: nn.Module, tokenizer: Any, context: str, settings: Mapping[str, Any], *, length: int
) -> str:
    until = settings.get("until") or []
    stops = [until] if isinstance(until, str) else list(until)
    tokens, new = _tokens(tokenizer, context) or _start(tokenizer), list[int]()
    for _ in range(int(settings.get("max_gen_toks", MOST_NEW))):
        with torch.no_grad():
            logits = model(embed(model, torch.tensor([[*tokens, *new][-length:]])))
        new.append(int(logits[0, -1].argmax()))
        text = str(tokenizer.decode(new))
        cut = min((text.index(stop) for stop in stops if stop in text), default=None)
        if cut is not None:
            return text[:cut]
        if new[-1] == tokenizer.eos_token_id:
            break
    return str(tokenizer.decode(new))
