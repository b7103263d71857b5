"""Conversion end to end on tiny models: what is replaced, what is kept, and what survives a kill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cipherformer.capture import capture
from cipherformer.errors import FormatError, LimitError, ModelError
from cipherformer.nn import PolynomialActivation, PolynomialNorm, ScaledPowerSoftmax
from cipherformer.train import digest
from cipherformer.train.convert import Watch, convert, restored
from cipherformer.train.data import Data, Part, from_arrays
from cipherformer.train.ranges import Contract
from cipherformer.train.recipes import RECIPES, recipe
from cipherformer.train.stage import Conversion

pytestmark = pytest.mark.torch


class Tiny(nn.Module):
    """One layer, all of it written with functions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 6)
        self.up, self.down, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 3)
        self.norm1, self.norm2, self.drop = nn.LayerNorm(6), nn.LayerNorm(6), nn.Dropout(0.1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.drop(self.out((q @ k.mT / 6**0.5).softmax(-1) @ v))
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tiny().eval()


@pytest.fixture
def data(model):
    x = torch.randn(96, 4, 6, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1).detach()
    return Data(Part(x[:64], y[:64]), Part(x[64:], y[64:]))


def short(name: str, epochs: float = 1.0) -> Conversion:
    """A recipe with few steps and no contract."""
    found = recipe(name)
    stages = tuple(replace(s, epochs=min(s.epochs, epochs), batch_size=8) for s in found.stages)
    return replace(found, stages=stages, contract=Contract(1e9, 1e9, 99, -0.49))


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_and_its_result_is_captured_and_restored(name, model, data, tmp_path):
    done = convert(
        model, data, short(name, 0.5), tmp_path, example_inputs=(data.train.inputs[:1],), relaxed=True
    )
    assert done.sites and done.history[-1]["count"] == 32
    x = data.test.inputs[:1]
    graph = capture(done.model, (x,))
    ops = {node.op for node in graph.nodes}
    if done.original is not None and recipe(name).forms.attention != "keep":
        assert "softmax" not in ops
    again = restored(model, short(name, 0.5), tmp_path, x)
    torch.testing.assert_close(again(x), done.model(x))


def test_default_replaces_everything_and_keeps_the_accuracy(model, data, tmp_path):
    told = []
    watch = Watch(sites=lambda sites, left: told.append((sites, left)))
    done = convert(
        model, data, short("default", 4.0), tmp_path, example_inputs=(data.train.inputs[:1],), watch=watch
    )
    kinds = [type(m) for m in done.model.modules()]
    counts = [kinds.count(t) for t in (ScaledPowerSoftmax, PolynomialNorm, PolynomialActivation)]
    assert counts == [1, 2, 1]
    assert told == [(done.sites, [])]
    assert done.before.accuracy == 1.0 and done.after.accuracy > 0.8


@pytest.mark.parametrize("name", ["default", "power-softmax", "poly-transformer"])
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(name, model, data, tmp_path):
    example, conversion = (data.train.inputs[:1],), short(name)
    whole = convert(model, data, conversion, tmp_path / "a", example_inputs=example, relaxed=True)
    steps = 8 * len(conversion.stages)
    for last in np.random.default_rng(0).choice(np.arange(1, steps), 3, replace=False):
        taken = 0

        def kill(_: object, last: int = int(last)) -> None:
            nonlocal taken
            taken += 1
            if taken == last:
                raise KilledError

        folder, always = tmp_path / f"b{last}", 0.0
        with pytest.raises(KilledError):
            watch = Watch(step=kill, save_seconds=always)
            convert(model, data, conversion, folder, example_inputs=example, watch=watch, relaxed=True)
        resumed = []
        watch = Watch(step=lambda step, seen=resumed: seen.append(step.step), save_seconds=always)
        ended = convert(model, data, conversion, folder, example_inputs=example, watch=watch, relaxed=True)
        assert digest(ended.model) == digest(whole.model)
        assert len(resumed) <= steps - last + 1, "it goes on, it does not start anew"


def test_a_finished_run_is_not_repeated_and_another_is_refused(model, data, tmp_path):
    example, conversion = (data.train.inputs[:1],), short("default")
    first = convert(model, data, conversion, tmp_path, example_inputs=example)
    taken = []
    again = convert(model, data, conversion, tmp_path, example_inputs=example, watch=Watch(step=taken.append))
    assert not taken and digest(again.model) == digest(first.model)
    with pytest.raises(FormatError, match="another model, recipe, data or seed"):
        convert(model, data, conversion, tmp_path, example_inputs=example, seed=1)
    state = tmp_path / "state.json"
    state.write_text(state.read_text()[:-20])
    with pytest.raises(FormatError, match="damaged state"):
        convert(model, data, conversion, tmp_path, example_inputs=example)


def test_a_broken_contract_is_refused_unless_it_is_relaxed(model, data, tmp_path):
    strict = replace(short("default", 0.0), contract=Contract(normaliser_ratio=1.0001))
    example = (data.train.inputs[:1],)
    with pytest.raises(LimitError, match="normaliser's hi/lo"):
        convert(model, data, strict, tmp_path, example_inputs=example)
    relaxed = convert(model, data, strict, tmp_path, example_inputs=example, relaxed=True)
    assert any("normaliser" in problem for problem in relaxed.problems)


def test_a_model_without_sites_is_refused(data, tmp_path):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    with pytest.raises(ModelError, match="finds nothing to replace"):
        convert(linear, data, recipe("default"), tmp_path, example_inputs=(data.train.inputs[:1],))


def test_arrays_become_data():
    tokens = np.arange(40).reshape(8, 5)
    data = from_arrays({"tokens": tokens}, held_out=0.25)
    assert (len(data.train), len(data.test)) == (6, 2) and data.tokens
    assert torch.equal(data.train.labels[0], torch.tensor([1, 2, 3, 4]))
