"""Losses, ranges, the loop and its guard, checkpoints."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from cipherformer.demo import train as demo
from cipherformer.demo.data import load_digits_split, warp
from cipherformer.demo.model import DigitsConfig, DigitsViT
from cipherformer.errors import DataError, FormatError, LimitError, ModelError
from cipherformer.nn import PolynomialActivation, PowerSoftmax
from cipherformer.train import (
    Contract,
    Recipe,
    SiteRange,
    Targets,
    accuracy,
    check,
    condition_loss,
    distillation_loss,
    intervals,
    load_checkpoint,
    measure,
    observe,
    range_loss,
    save_checkpoint,
    site_loss,
    train,
    violations,
)

pytestmark = pytest.mark.torch


def test_range_loss_is_zero_inside_and_moves_only_the_extremes():
    inside = torch.tensor([-1.0, 0.5, 2.0])
    assert range_loss(inside, -1.0, 2.0) == 0.0
    x = torch.tensor([-3.0, 0.0, 1.0, 5.0], requires_grad=True)
    loss = range_loss(x, -1.0, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(3.0 + 2.0)
    assert x.grad.tolist() == [-1.0, 0.0, 0.0, 1.0]


def test_condition_loss_depends_on_the_ratio_alone():
    x = torch.tensor([1.0, 2.0, 40.0])
    assert condition_loss(x, 40.5) == 0.0
    assert condition_loss(x, 10.0).item() == pytest.approx(math.log(4.0), rel=1e-5)
    torch.testing.assert_close(condition_loss(x, 10.0), condition_loss(7.0 * x, 10.0))


def test_distillation_loss_vanishes_for_equal_logits_only():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert distillation_loss(logits, logits, 3.0).item() == pytest.approx(0.0, abs=1e-6)
    assert distillation_loss(logits, logits.flip(1), 3.0) > 0.1


def test_site_loss_sees_every_kind_of_site():
    model = nn.Sequential(PolynomialActivation.fit(degree=3, low=-1.0, high=1.0), PowerSoftmax(4, 1e-3))
    with observe(model) as seen:
        model(torch.full((2, 4), 0.5))
        calm = site_loss(seen.take(), Targets(interval_share=0.9, score_bound=1.0))
        model(torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]))
        calls = seen.take()
    assert calm == 0.0
    assert [call.name for call in calls] == ["0", "1"]
    wild = site_loss(calls, Targets(interval_share=0.9, normaliser_ratio=10.0, score_bound=1.0))
    normaliser = calls[1].module.normaliser(calls[1].value)
    wanted = (3.0 - 0.9) + (calls[1].value.abs().max() - 1.0)
    wanted = wanted + torch.log(normaliser.max() / normaliser.min() / 10.0)
    assert wild.item() == pytest.approx(wanted.item(), rel=1e-5)
    model(torch.zeros(1, 4))
    assert seen.take() == [], "a closed observer sees nothing"


def test_measured_ranges_cover_all_batches_and_judge_the_contract():
    model = nn.Sequential(PolynomialActivation.fit(degree=7, low=-2.0, high=2.0), PowerSoftmax(4, 0.02))
    first, second = measure(model, [torch.zeros(1, 4), torch.tensor([[-1.5, 0.0, 0.0, 1.0]])])
    assert (first.kind, first.low, first.high, first.domain_high) == ("polynomial", -1.5, 1.0, 2.0)
    assert second.kind == "normaliser" and second.low >= 0.02 - 1e-8
    assert violations([first], Contract(margin=0.1)) == []
    assert "outside its interval" in violations([first], Contract(margin=0.3))[0]
    assert "3 levels, at most 2" in violations([first], Contract(activation_levels=2))[0]
    wide = SiteRange("a", "normaliser", 0.02, 1.0, domain_low=0.02)
    assert wide.ratio() == pytest.approx(50.0)
    assert wide.ratio(0.1) == pytest.approx(55.0), "the lower end is guaranteed by epsilon"
    with pytest.raises(LimitError, match="hi/lo is 55"):
        check([wide], Contract())
    assert intervals([first], 0.1) == {"0": pytest.approx((-1.75, 1.25))}


def test_a_tiny_run_improves_and_repeats_itself():
    split = load_digits_split(0)
    images, labels = split.train_images[:320], split.train_labels[:320]
    recipe = Recipe(epochs=8, batch_size=32, learning_rate=1e-2, site_weight=0.1)

    def run():
        torch.manual_seed(0)
        model = DigitsViT(DigitsConfig("private")).eval()
        before, steps = accuracy(model, images, labels), []
        train(model, images, labels, recipe, augment=warp, progress=steps.append)
        return model, before, steps

    model, before, steps = run()
    again, _, _ = run()
    assert before < 0.3
    assert accuracy(model, images, labels) > before + 0.2
    assert [s.step for s in steps] == list(range(1, 81)) and steps[0].steps == 80
    assert steps[-1].loss < steps[0].loss
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_private_model_from_the_baseline_learns_and_caches(tmp_path, monkeypatch):
    split = load_digits_split(0)
    monkeypatch.setattr(demo, "BASELINE_RECIPE", Recipe(epochs=2))
    monkeypatch.setattr(demo, "PRIVATE_RECIPE", Recipe(epochs=2, site_weight=0.3))
    monkeypatch.setattr(demo, "CONTRACT", Contract(normaliser_ratio=1e6, margin=-0.49))
    first = demo.train_baseline(split, tmp_path)
    private = demo.train_private(split, first, tmp_path)
    assert not first.cached and not private.cached
    assert private.accuracy > 0.25
    assert {site.kind for site in private.ranges} == {"normaliser", "polynomial"}
    again = demo.train_private(split, demo.train_baseline(split, tmp_path), tmp_path)
    assert again.cached and again.accuracy == private.accuracy and again.ranges == private.ranges
    assert not demo.train_private(split, first, tmp_path, seed=1).cached, "another seed is another model"


class _Explosive(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.third(self.second(self.first(x) * 1e35))


def test_divergence_names_the_layer():
    with pytest.raises(ModelError, match="second: training diverged"):
        train(
            _Explosive(), torch.rand(8, 4) * 1e5, torch.zeros(8, dtype=torch.int64), Recipe(1, batch_size=8)
        )


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="do not fill"):
        train(nn.Linear(2, 2), torch.rand(3, 2), torch.zeros(3, dtype=torch.int64), Recipe(1))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, nn.Linear(3, 2), {"seconds": 1.5})
    return path


def test_checkpoint_round_trip(saved):
    model = nn.Linear(3, 2)
    assert load_checkpoint(saved, model)["seconds"] == 1.5
    again = nn.Linear(3, 2)
    load_checkpoint(saved, again)
    assert torch.equal(model.weight, again.weight)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["w.json", "w.safetensors"]


def _damage(path, kind):
    meta = path.with_suffix(".json")
    facts = json.loads(meta.read_text())
    if kind == "random bytes":
        path.write_bytes(b"\x07" * 400)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif kind == "missing":
        path.unlink()
    elif kind == "metadata is not JSON":
        meta.write_text("{")
    elif kind == "metadata is a list":
        meta.write_text("[]")
    elif kind == "another version":
        meta.write_text(json.dumps({**facts, "format": 99}))
    elif kind == "garbage with a right digest":
        import hashlib

        path.write_bytes(b"\x07" * 400)
        meta.write_text(json.dumps({**facts, "sha256": hashlib.sha256(b"\x07" * 400).hexdigest()}))


@pytest.mark.parametrize(
    "kind",
    [
        "random bytes",
        "truncated",
        "missing",
        "metadata is not JSON",
        "metadata is a list",
        "another version",
        "garbage with a right digest",
    ],
)
def test_damaged_checkpoints_are_refused(saved, kind):
    _damage(saved, kind)
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    with pytest.raises(FormatError):
        load_checkpoint(saved, model)
    assert torch.equal(model.weight, before)


def test_weights_of_another_model_or_not_finite_are_refused(saved, tmp_path):
    with pytest.raises(FormatError, match=r"weight is torch.float32 \[2, 3\]"):
        load_checkpoint(saved, nn.Linear(4, 2))
    with pytest.raises(FormatError, match="bias is unknown"):
        load_checkpoint(saved, nn.Linear(3, 2, bias=False))
    broken = nn.Linear(3, 2)
    with torch.no_grad():
        broken.bias[0] = math.nan
    save_checkpoint(tmp_path / "nan.safetensors", broken, {})
    with pytest.raises(FormatError, match="bias is not finite"):
        load_checkpoint(tmp_path / "nan.safetensors", nn.Linear(3, 2))


def test_split_is_fixed_disjoint_and_in_range():
    split, again, other = load_digits_split(0), load_digits_split(0), load_digits_split(1)
    assert len(split.train_labels) + len(split.test_labels) == 1797
    assert torch.equal(split.test_images, again.test_images)
    assert not torch.equal(split.test_labels, other.test_labels)
    assert split.train_images.shape[1:] == (1, 8, 8)
    assert split.train_images.min() == 0.0 and split.train_images.max() == 1.0
