"""Metrics against others' implementations, regression, in-context questions, and the harness's interface."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as theirs
from torch import nn

from cipherformer.errors import DataError, ParameterError
from cipherformer.train import harness, metrics
from cipherformer.train.data import Part, from_arrays
from cipherformer.train.evaluate import Choice, continuation, few_shot, multiple_choice, score
from cipherformer.train.steps import soft_loss, task_loss

pytestmark = pytest.mark.torch


def test_metrics_are_those_of_other_libraries():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randint(0, 2, (200,), generator=generator)
    predicted = torch.where(torch.rand(200, generator=generator) < 0.3, 1 - wanted, wanted)
    assert metrics.f1(predicted, wanted) == pytest.approx(theirs.f1_score(wanted, predicted))
    assert metrics.matthews(predicted, wanted) == pytest.approx(theirs.matthews_corrcoef(wanted, predicted))
    a = torch.randint(0, 9, (200,), generator=generator).float()
    b = a + 3.0 * torch.randn(200, generator=generator)
    assert metrics.pearson(b, a) == pytest.approx(stats.pearsonr(b, a).statistic)
    assert metrics.spearman(b, a) == pytest.approx(stats.spearmanr(b, a).statistic)
    assert metrics.matthews(torch.ones(5), torch.tensor([0, 1, 0, 1, 1])) == 0.0


def test_every_task_of_glue_has_its_metrics_and_other_names_are_refused():
    assert len(metrics.GLUE) == 9
    assert set(metrics.metrics_of(("glue:mrpc", "matthews"))) == {"accuracy", "f1", "matthews"}
    for name in ("glue:none", "loss"):
        with pytest.raises(ParameterError, match="there is no metric"):
            metrics.metrics_of((name,))


def test_labels_that_are_not_whole_are_numbers():
    inputs = np.linspace(-1.0, 1.0, 40, dtype=np.float32)[:, None]
    data = from_arrays({"inputs": inputs, "labels": 2.5 * inputs[:, 0] + 0.1})
    assert data.train.labels.dtype == torch.float32
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.5), model.bias.fill_(0.3)
    found = score(model, data.test, metrics=("glue:stsb",))
    assert found.loss == pytest.approx(0.04, rel=1e-3) and found.accuracy == pytest.approx(1.0)
    assert found.metrics == pytest.approx({"pearson": 1.0, "spearman": 1.0})
    logits = model(data.test.inputs).detach()
    assert float(task_loss(logits, data.test.labels)) == pytest.approx(0.04, rel=1e-3)
    assert float(soft_loss(logits, logits, data.test.labels, 2.0)) == pytest.approx(0.04, rel=1e-3)


class Copier(nn.Module):
    """Repeats what followed the same token before, or the token itself."""

    def __init__(self, words: int):
        super().__init__()
        self.table = nn.Embedding(words, words)
        with torch.no_grad():
            self.table.weight.copy_(torch.eye(words))

    def get_input_embeddings(self):
        return self.table

    def forward(self, x):
        same = (x @ x.mT).tril(-1)  # [B, L, L]: earlier places of the same token
        after = same[..., :-1] @ x[:, 1:]
        return 10.0 * (after + 0.1 * x)


def question(context, answers, right=0):
    return Choice(torch.tensor(context), tuple(torch.tensor(a) for a in answers), right)


def test_examples_in_front_of_a_question_can_be_used():
    model = Copier(8)
    asked = [question([3], [[5], [3]])]
    assert multiple_choice(model, asked) == 0.0
    shown = few_shot(asked, [question([3], [[4], [5]], right=1)], gap=torch.tensor([7]))
    assert shown[0].context.tolist() == [3, 5, 7, 3]
    assert multiple_choice(model, shown) == 1.0
    assert score(model, Part(torch.tensor([[3, 5, 3]]), torch.tensor([[3, 5, 5]]))).accuracy == 1.0


class Words:
    """A tokenizer of digits."""

    bos_token_id, eos_token_id = None, 0

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [int(c) for c in text]}

    def decode(self, tokens):
        return "".join(map(str, tokens))


@pytest.fixture
def installed(monkeypatch):
    """A package with the part of lm-evaluation-harness that is used."""
    whole, api, models = ModuleType("lm_eval"), ModuleType("lm_eval.api"), ModuleType("lm_eval.api.model")
    models.LM, api.model, whole.api = object, models, api

    def simple_evaluate(*, model, tasks, num_fewshot, limit):
        asked = [SimpleNamespace(args=("353", "5")), SimpleNamespace(args=("353", "6"))]
        found = model.loglikelihood(asked[:limit])
        return {"results": {task: {"acc": sum(g for _, g in found) / len(found)} for task in tasks}}

    whole.simple_evaluate = simple_evaluate
    for name, module in (("lm_eval", whole), ("lm_eval.api", api), ("lm_eval.api.model", models)):
        monkeypatch.setitem(sys.modules, name, module)


def test_the_harness_gets_likelihoods_and_texts(installed):
    model = Copier(8)
    scores = harness.harness_scores(model, Words(), ["lambada"], length=16, limit=2)
    assert scores == {"lambada": {"acc": 0.5}}
    wrapped = harness.harness_model(model, Words(), length=4)
    (rolling,) = wrapped.loglikelihood_rolling([SimpleNamespace(args=("353535",))])
    pieces = [([0], [3, 5, 3]), ([3], [5, 3, 5])]
    wanted = sum(continuation(model, torch.tensor(c), torch.tensor(a))[0] for c, a in pieces)
    assert rolling == pytest.approx(wanted)
    asked = SimpleNamespace(args=("1212", {"until": ["1"], "max_gen_toks": 5}))
    wrapped = harness.harness_model(model, Words(), length=16)
    assert wrapped.generate_until([asked]) == [""], "1 follows 2"
    asked = SimpleNamespace(args=("1212", {"until": "7", "max_gen_toks": 3}))
    assert wrapped.generate_until([asked]) == ["121"]


def test_without_the_harness_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(DataError, match="not installed"):
        harness.harness_model(Copier(4), Words(), length=4)
