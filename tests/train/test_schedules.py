"""Schedules, memory, masks, norms with constants, iteration-aware loss, degrees from a budget."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cipherformer.approx.goldschmidt import plan_inverse_sqrt, plan_reciprocal
from cipherformer.capture import capture
from cipherformer.errors import DataError, ParameterError
from cipherformer.graph.evaluate import evaluate
from cipherformer.nn import (
    Blend,
    ConstantNorm,
    PolynomialActivation,
    PolynomialNorm,
    Softmax,
    fit_inverse_sqrt,
)
from cipherformer.nn.activation import function_of
from cipherformer.train import Targets, site_loss
from cipherformer.train.build import Swapper
from cipherformer.train.convert import Watch, convert, restored
from cipherformer.train.data import Data, Part, from_arrays
from cipherformer.train.losses import INVERSE_SQRT_GAIN, RECIPROCAL_GAIN, iteration_loss
from cipherformer.train.memory import checkpointed, repeated
from cipherformer.train.observe import observe
from cipherformer.train.pareto import (
    activation_options,
    frontier,
    inverse_sqrt_options,
    reciprocal_options,
    within,
)
from cipherformer.train.recipes import recipe
from cipherformer.train.sites import Measured
from cipherformer.train.stage import Conversion, Forms, Stage
from cipherformer.train.steps import _move_blends, end_blends

pytestmark = pytest.mark.torch


class Layer(nn.Module):
    """Attention with a mask, and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.weights = nn.Linear(6, 18), nn.Linear(6, 6), Softmax()
        self.norm, self.up, self.act, self.down = nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)
        self.drop = nn.Dropout(0.2)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        open_ = None if mask is None else mask[:, None, :]
        x = x + self.drop(self.out(self.weights(q @ k.mT, open_) @ v))
        return x + self.down(self.act(self.up(x)))


class Deep(nn.Module):
    """Three layers and a mean over open positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(Layer() for _ in range(3)), nn.Linear(6, 3)

    def forward(self, x, mask=None):
        for layer in self.layers:
            x = layer(x, mask)
        if mask is not None:
            x = x * mask[:, :, None].to(x.dtype)
        return self.head(x.mean(1))


@pytest.fixture
def deep():
    torch.manual_seed(0)
    return Deep().eval()


def some_data(model: nn.Module, *, masked: bool = False) -> Data:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(48, 4, 6, generator=generator)
    mask = (torch.arange(4) < torch.randint(2, 5, (48, 1), generator=generator)) if masked else None
    with torch.no_grad():
        y = (model(x) if mask is None else model(x, mask)).argmax(1)
    whole = Part(x, y, mask)
    return Data(whole.first(32), whole.rows(slice(32, None)))


def conversion(stage: Stage, **forms: object) -> Conversion:
    return Conversion("mine", "", "", Forms(**{"activation": 5, "norm": "polynomial", **forms}), (stage,))


def test_layers_come_in_one_after_the_other(deep, tmp_path):
    shares: list[list[float]] = []
    stage = Stage(
        "all", replace=("attention", "norm", "activation"), epochs=2.0, batch_size=8, transition="in_turn"
    )
    wanted, seen = conversion(stage), []
    data = some_data(deep)
    swapped, _ = Swapper(wanted, lambda _: [data.train.inputs])(deep, stage)
    blends = [m for m in swapped.modules() if isinstance(m, Blend)]
    assert len(blends) == 9
    for step in range(20):
        _move_blends(swapped, stage, step, 20)
        shares.append([b.share for b in blends])
    assert all(b <= a for row in shares for a, b in itertools.pairwise(row)), "a later one is ahead"
    assert shares[0][0] > 0.0 and shares[0][1] == 0.0 and set(shares[-1]) == {1.0}
    assert sum(0.0 < s < 1.0 for s in shares[7]) <= 1
    end_blends(swapped)
    done = convert(
        deep,
        data,
        wanted,
        tmp_path,
        example_inputs=(data.train.inputs[:1],),
        relaxed=True,
        watch=Watch(stage=seen.append),
    )
    assert not any(isinstance(m, Blend | nn.GELU | nn.LayerNorm) for m in done.model.modules())
    assert seen[0]["substituted"]["accuracy"] == 1.0, "before the first step the model is the original"
    x = data.test.inputs[:1]
    torch.testing.assert_close(restored(deep, wanted, tmp_path, x)(x), done.model(x))


def test_a_blend_keeps_its_share_in_a_checkpoint():
    blend = Blend(nn.ReLU(), nn.GELU())
    blend.share = 0.25
    other = Blend(nn.ReLU(), nn.GELU())
    other.load_state_dict(blend.state_dict())
    assert other.share == 0.25
    pair = Blend(nn.MultiheadAttention(4, 1, batch_first=True), nn.MultiheadAttention(4, 1, batch_first=True))
    pair.share, x = 0.5, torch.randn(1, 3, 4)
    out, _ = pair(x, x, x)
    torch.testing.assert_close(out, 0.5 * pair.replacement(x, x, x)[0] + 0.5 * pair.original(x, x, x)[0])


def test_checkpointed_layers_give_the_same_gradients_and_keep_less(deep):
    assert repeated(deep) == list(deep.layers)
    deep.train()
    x = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2))

    def gradients(twice: bool) -> tuple[list[torch.Tensor], int]:
        kept: list[int] = []
        deep.zero_grad()
        torch.manual_seed(3)

        def note(t: torch.Tensor) -> torch.Tensor:
            kept.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            if twice:
                with checkpointed(deep) as layers:
                    assert layers == 3
                    deep(x).sum().backward()
            else:
                deep(x).sum().backward()
        return [p.grad.clone() for p in deep.parameters()], sum(kept)

    (plain, much), (again, little) = gradients(False), gradients(True)
    torch.testing.assert_close(again, plain)
    assert little < 0.5 * much
    assert "forward" not in vars(deep.layers[0])


def test_a_stage_under_checkpoints_ends_with_the_same_weights(deep, tmp_path):
    data = some_data(deep)
    out = []
    for twice in (False, True):
        stage = Stage(
            "all",
            replace=("attention", "activation"),
            epochs=1.0,
            batch_size=8,
            hidden=1.0,
            scores=1.0,
            sites=0.1,
            checkpoint=twice,
        )
        done = convert(
            deep,
            data,
            conversion(stage),
            tmp_path / str(twice),
            example_inputs=(data.train.inputs[:1],),
            relaxed=True,
        )
        out.append(done.model(data.test.inputs))
    torch.testing.assert_close(out[0], out[1])


def test_a_polynomial_keeps_its_input_alone_whatever_its_degree():
    module = PolynomialActivation.fit("gelu", degree=31, low=-3.0, high=3.0)
    x, kept = torch.randn(50_000, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        module(x).sum().backward()
    assert sum(kept) < 1.01 * x.numel()


def test_masks_of_the_data_reach_the_model_in_training_and_in_scores(deep, tmp_path):
    data = some_data(deep, masked=True)
    stage = Stage("all", replace=("attention", "activation"), epochs=1.0, batch_size=8, soft=1.0)
    example = data.train.first(1).fed(deep)
    done = convert(deep, data, conversion(stage), tmp_path, example_inputs=example, relaxed=True)
    assert done.before.accuracy == 1.0, "labels came from the masked model"
    x, mask = data.test.inputs, data.test.mask
    filled = torch.where(mask[:, :, None], x, torch.full_like(x, 0.3))
    torch.testing.assert_close(done.model(x, mask), done.model(filled, mask))
    torch.testing.assert_close(
        restored(deep, conversion(stage), tmp_path, *example)(x, mask), done.model(x, mask)
    )


def test_masks_come_from_files_and_must_fit():
    arrays = {"inputs": np.zeros((4, 3, 2), np.float32), "labels": np.zeros(4), "mask": np.ones((4, 3))}
    found = from_arrays(arrays)
    assert found.train.mask is not None and found.train.mask.dtype == torch.bool
    assert found.test.mask is not None and len(found.test.mask) == 1
    with pytest.raises(DataError, match="4 and 4 and 3"):
        from_arrays({**arrays, "mask": np.ones((3, 3))})


def test_a_constant_norm_is_affine_and_starts_near_its_norm(deep):
    data = some_data(deep)
    stage = Stage("all", replace=("norm",))
    swapped, sites = Swapper(conversion(stage, norm="constant"), lambda _: [data.train.inputs])(deep, stage)
    assert [s.after for s in sites] == ["ConstantNorm"] * 3
    norm = swapped.layers[0].norm
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(norm(3.0 * x), 3.0 * norm(x))
    with torch.no_grad():
        exact = deep.layers[0].norm(data.train.inputs)
        assert float((norm(data.train.inputs) - exact).square().mean() / exact.square().mean()) < 0.3
    graph = capture(norm, (x,))
    assert not {"divide", "inverse_sqrt", "layer_norm", "polynomial", "polynomial_norm"} & {
        node.op for node in graph.nodes
    }
    (found,) = evaluate(graph, {graph.inputs[0].name: x.double().numpy()}).values()
    np.testing.assert_allclose(found, norm(x).detach().numpy(), atol=1e-5)
    assert norm.log_denominator.requires_grad
    assert ConstantNorm(3, 2.0, centre=False, bias=False)(torch.full((1, 3), 4.0)).tolist() == [[2.0] * 3]


@pytest.mark.parametrize(
    "gain, plan", [(RECIPROCAL_GAIN, plan_reciprocal), (INVERSE_SQRT_GAIN, plan_inverse_sqrt)]
)
def test_the_iteration_loss_counts_steps(gain, plan):
    narrow, wide = 100.0, 100_000.0
    steps = plan(1.0, wide, 2.0**-12).iterations - plan(1.0, narrow, 2.0**-12).iterations
    loss = [float(iteration_loss(torch.tensor([1.0, high]), gain)) for high in (narrow, wide)]
    assert abs((loss[1] - loss[0]) - steps) <= 1.0


def test_the_iteration_loss_goes_on_where_hinges_end():
    x = torch.tensor([[-1.0, 1.0, 0.0, 0.5], [-2.0, 2.0, 0.0, 1.0]], requires_grad=True)
    norm = nn.LayerNorm(4)
    for weight, moves in ((0.0, False), (1.0, True)):
        x.grad = None
        with observe(holder := nn.Sequential(norm), (nn.LayerNorm,)) as seen:
            holder(x)
            loss = site_loss(seen.take(), Targets(variance_ratio=100.0, iterations=weight))
        if loss.requires_grad:
            loss.backward()
        assert (x.grad is not None and bool(x.grad.abs().sum() > 0)) == moves
    assert float(loss.detach()) == pytest.approx(math.log(4.0) / math.log(INVERSE_SQRT_GAIN), rel=1e-3)


def test_the_frontier_buys_the_most_error_a_second():
    generator = torch.Generator().manual_seed(0)
    easy, hard = torch.randn(4000, generator=generator) * 0.3, torch.randn(4000, generator=generator) * 3.0
    sites = {
        name: activation_options(function_of("gelu"), Measured(float(x.min()), float(x.max()), x))
        for name, x in (("easy", easy), ("hard", hard))
    }
    variances = torch.rand(4000, generator=generator) * 9.0 + 1.0
    sites["norm"] = inverse_sqrt_options(Measured(1.0, 10.0, variances))
    sites["row"] = reciprocal_options(0.01, 1.0)
    points = frontier(sites)
    errors, seconds = [p.error for p in points], [p.seconds for p in points]
    assert errors == sorted(errors, reverse=True) and seconds == sorted(seconds)
    chosen = within(points, 0.05)
    assert chosen.error <= 0.05 and chosen.options["hard"].size > chosen.options["easy"].size
    assert all(p.error > 0.05 for p in points if p.seconds < chosen.seconds)
    assert chosen.levels == sum(o.levels for o in chosen.options.values())
    with pytest.raises(ParameterError, match="error budget"):
        within(points, 1e-9)


def test_degrees_follow_a_budget_and_survive_a_folder(deep, tmp_path):
    data = some_data(deep)
    stage = Stage("all", replace=("activation",), epochs=0.0)
    x, degrees = data.test.inputs[:1], []
    for budget in (0.1, 0.01):
        wanted = conversion(stage, budget=budget)
        folder = tmp_path / str(budget)
        done = convert(deep, data, wanted, folder, example_inputs=(x,), relaxed=True)
        found = [m.series.degree for m in done.model.modules() if isinstance(m, PolynomialActivation)]
        degrees.append(sum(found))
        torch.testing.assert_close(restored(deep, wanted, folder, x)(x), done.model(x))
    assert degrees[0] < degrees[1]
    with pytest.raises(ParameterError, match="trainable"):
        convert(
            deep,
            data,
            conversion(stage, budget=0.1, trainable=True),
            tmp_path / "c",
            example_inputs=(x,),
        )


def test_a_wide_variance_is_cut_to_what_the_contract_allows(deep):
    scale = torch.tensor([0.02, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 30.0]).repeat(4)[:, None, None]
    x = torch.randn(32, 4, 6, generator=torch.Generator().manual_seed(1)) * scale
    stage = Stage("norms", replace=("norm",))
    for ratio in (None, 80.0):
        swapped, _ = Swapper(conversion(stage, norm_ratio=ratio), lambda _: [x])(deep, stage)
        norm = swapped.layers[0].norm
        assert isinstance(norm, PolynomialNorm)
        width = norm.inverse_sqrt.high / norm.inverse_sqrt.low
        assert width > 1e4 if ratio is None else width == pytest.approx(80.0 * 1.25**2)


def test_statistics_of_batch_norms_are_measured_after_a_stage(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    x = torch.randn(32, 2, 3, 3) * 3.0 + 1.0
    whole = Part(x, torch.arange(32) % 2)
    data = Data(whole, whole)
    default = recipe("default")
    stage = replace(default.stages[0], epochs=0.25, batch_size=8, recalibrate=4)
    done = convert(
        model.eval(), data, replace(default, stages=(stage,)), tmp_path, example_inputs=(x[:1],), relaxed=True
    )
    norm = done.model[1]
    with torch.no_grad():
        before = done.model[0](x)
    torch.testing.assert_close(norm.running_mean, before.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)


def test_a_guarded_norm_goes_on_like_a_norm():
    series = fit_inverse_sqrt(0.5, 8.0, 7)
    norm = PolynomialNorm(4, series, 0.0)
    wide = 100.0 * torch.tensor([[-1.0, 1.0, -0.5, 0.5]])
    assert float(norm(wide).abs().max().detach()) > 1e6, "the polynomial alone explodes"
    norm.train()
    norm.inverse_sqrt.guarded = True
    exact = nn.functional.layer_norm(wide, (4,))
    assert float((norm(wide) - exact).abs().max().detach()) < 0.1
