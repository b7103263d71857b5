"""Private forms of attention and norms beyond PowerSoftmax: values, masks, gradients, stability, fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cipherformer.approx.least_squares import least_squares
from cipherformer.capture import capture
from cipherformer.errors import ModelError
from cipherformer.graph.evaluate import evaluate
from cipherformer.nn import (
    Blend,
    ChannelScaled,
    DotProductAttention,
    HeadBatchNorm,
    Pointwise,
    PolynomialActivation,
    PolynomialNorm,
    ScaledPowerSoftmax,
    TwoQuad,
    fit_inverse_sqrt,
)
from cipherformer.train import Targets, load_checkpoint, save_checkpoint, site_loss
from cipherformer.train.evaluate import Choice, last_word, multiple_choice
from cipherformer.train.losses import matching_loss, variance_loss
from cipherformer.train.observe import Observation
from cipherformer.train.prepare import weight_scores
from cipherformer.train.ranges import measure, restate

pytestmark = pytest.mark.torch


class Called(nn.Module):
    """A weighting with a causal mask, for capturing."""

    def __init__(self, weights: nn.Module, tokens: int) -> None:
        super().__init__()
        self.weights, self.mask = weights, torch.ones(tokens, tokens).tril().bool()

    def forward(self, x):
        return self.weights(x, self.mask)


def test_counted_rows_are_averaged_over_what_their_mask_leaves_open():
    weights, x = (
        ScaledPowerSoftmax(4, 1e-2),
        torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0)),
    )
    weights.rescale(torch.tensor([0.5, 2.0])[:, None, None])
    mask = torch.ones(5, 5).tril().bool()
    for row in range(5):
        open_ = (x[:, :, row, : row + 1] * weights.factor[..., 0]) ** 4
        wanted = open_ / (1e-2 + open_.mean(-1, keepdim=True)) / (row + 1)
        torch.testing.assert_close(weights(x, mask)[:, :, row, : row + 1], wanted)
    assert not weights(x, mask).triu(1).any()
    normaliser = weights.normaliser(x, mask)
    torch.testing.assert_close(normaliser[:, :, 0], 1e-2 + (x[:, :, 0, 0] * weights.factor[:, 0, 0]) ** 4)


@pytest.mark.parametrize("weights", [ScaledPowerSoftmax(4, 1e-2), TwoQuad(5.0), Pointwise()])
def test_a_causal_weighting_is_captured_as_it_computes(weights):
    model = Called(weights, 4).eval()
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    graph = capture(model, (x,))
    (got,) = evaluate(graph, {graph.inputs[0].name: x.double().numpy()}).values()
    np.testing.assert_allclose(got, model(x).numpy(), atol=1e-6)


def test_factors_are_part_of_the_state_and_of_checkpoints(tmp_path):
    first, second, third = (ScaledPowerSoftmax() for _ in range(3))
    first.rescale(torch.tensor([0.3, 0.7])[:, None, None], torch.tensor([0.1, 0.2])[:, None, None])
    second.load_state_dict(first.state_dict())
    save_checkpoint(tmp_path / "weights.safetensors", first, {})
    load_checkpoint(tmp_path / "weights.safetensors", third)
    for other in (second, third):
        assert torch.equal(first.factor, other.factor) and torch.equal(first.shift, other.shift)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_finite_and_their_gradients_too(size, dtype):
    for weights in (ScaledPowerSoftmax(6, 1e-3), TwoQuad()):
        drawn = torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(2))
        x = (drawn * size).to(dtype).requires_grad_()
        y = weights(x)
        y.float().square().sum().backward()
        assert torch.isfinite(y).all() and torch.isfinite(x.grad).all() and y.dtype == dtype
        assert (y >= 0).all() and (y.float().sum(-1) <= 1.02).all()


def test_pointwise_attention_is_scaled_after_its_activation_and_masked():
    x = torch.randn(1, 1, 3, 4)
    mask = torch.tensor([1, 1, 0, 1]).bool()
    wanted = torch.nn.functional.gelu(x) * mask / 2.0
    torch.testing.assert_close(Pointwise()(x, mask), wanted)
    torch.testing.assert_close(Pointwise(scaled=False)(x, mask), 2.0 * wanted)


@pytest.mark.parametrize("causal", [False, True])
def test_dot_product_attention_is_that_of_torch(causal):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 5, 4, generator=generator) for h in (4, 2, 2))
    wanted = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    got = DotProductAttention(grouped=True)(q, k, v, is_causal=causal, enable_gqa=True)
    torch.testing.assert_close(got, wanted)
    with pytest.raises(ModelError, match="additive"):
        DotProductAttention()(q, q, q, torch.zeros(5, 5))


@pytest.mark.parametrize("centre", [True, False])
def test_a_polynomial_norm_is_near_the_norm_and_trains(centre):
    generator = torch.Generator().manual_seed(0)
    even = nn.functional.layer_norm(torch.randn(8, 5, 16, generator=generator), (16,))
    x = even * (0.6 + torch.rand(8, 5, 1, generator=generator))  # variances 0.36 .. 2.56
    new = PolynomialNorm(16, fit_inverse_sqrt(0.2, 3.0, 7), 1e-6, centre=centre, bias=centre)
    old = nn.LayerNorm(16, eps=1e-6) if centre else nn.RMSNorm(16, eps=1e-6)
    torch.testing.assert_close(new(x), old(x), atol=0.12, rtol=0.02)
    new(x).sum().backward()
    assert new.weight.grad is not None
    ops = [node.op for node in capture(new, (x[:1],)).nodes]
    assert [op for op in ops if op not in ("input", "constant")] == ["polynomial_norm"]


def test_batch_norm_over_heads_is_affine_in_evaluation():
    norm = HeadBatchNorm(3)
    norm(torch.randn(4, 3, 5, 5) * 3.0)
    x = torch.randn(1, 3, 5, 5)
    assert {n.op for n in capture(norm.eval(), (x,)).nodes} <= {"input", "constant", "batch_norm"}


def test_least_squares_prefers_where_the_samples_are():
    samples = np.random.default_rng(0).normal(size=4000) * 0.5
    relu = lambda x: np.maximum(x, 0.0)  # noqa: E731
    near = least_squares(relu, -8.0, 8.0, 7, samples=samples)
    even = least_squares(relu, -8.0, 8.0, 7)
    errors = [np.abs(s(samples) - relu(samples)).mean() for s in (near, even)]
    assert errors[0] < 0.5 * errors[1]


def test_a_guarded_polynomial_goes_on_along_its_tangents_in_training_only():
    module = PolynomialActivation.fit("relu", degree=6, low=-2.0, high=3.0)
    module.guarded = True
    x = torch.tensor([-4.0, -2.0, 0.5, 3.0, 7.0], requires_grad=True)
    (slopes,) = torch.autograd.grad(module(x).sum(), x)
    ends = torch.tensor([-2.0 + 1e-6, 3.0 - 1e-6], requires_grad=True)
    (inner,) = torch.autograd.grad(module.eval()(ends).sum(), ends)
    torch.testing.assert_close(slopes[[0, 4]], inner, atol=1e-3, rtol=1e-3)
    assert module(x.detach())[4] != pytest.approx(float(module.train()(x.detach())[4]))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 5, 3)])
def test_channels_share_one_polynomial_on_scaled_inputs(shape):
    polynomial = PolynomialActivation.fit("relu", degree=6, low=-1.0, high=1.0)
    scale = torch.tensor([0.5, 4.0, 20.0])
    along = scale[:, None, None] if len(shape) == 4 else scale
    module = ChannelScaled(polynomial, scale)
    x = (2.0 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1.0) * along
    errors = (module(x) - x.relu()).abs() / along
    assert float(errors.max()) <= polynomial.series.error + 1e-5
    other = ChannelScaled(PolynomialActivation.fit("gelu", degree=3, low=-1.0, high=2.0), torch.ones(1))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))
    ops = [node.op for node in capture(module.eval(), (x[:1],)).nodes]
    assert [op for op in ops if op not in ("input", "constant")] == ["channel_polynomial"]


def test_a_shifted_power_is_near_softmax_where_a_plain_one_is_not():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = ScaledPowerSoftmax(4, 1e-3)

        def forward(self, x):
            return self.weights(x)

    x = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    wanted, errors = x.softmax(-1), []
    for shifted in (False, True):
        model = Attention().eval()
        weight_scores(model, [x], shifted=shifted)
        assert float(model.weights.scaled(x).abs().max()) == pytest.approx(1.0, abs=1e-4)
        errors.append(float((model(x) - wanted).abs().mean()))
    assert errors[1] < 0.25 * errors[0]


def test_a_blend_moves_from_the_activation_to_the_polynomial():
    polynomial = PolynomialActivation.fit("gelu", degree=3, low=-2.0, high=2.0)
    blend, x = Blend(nn.GELU(), polynomial), torch.linspace(-2, 2, 5)
    torch.testing.assert_close(blend(x), nn.functional.gelu(x))
    blend.share = 1.0
    torch.testing.assert_close(blend(x), polynomial(x))


def test_losses_of_sites_that_are_not_replaced_yet():
    relu, norm, targets = nn.ReLU(), nn.LayerNorm(4), Targets(activation_bound=3.0, variance_ceiling=2.0)
    wide = torch.tensor([[-5.0, 1.0, 2.0, 4.0]])
    assert float(site_loss([Observation("a", relu, wide)], targets)) == pytest.approx(3.0)
    assert float(site_loss([Observation("n", norm, wide)], targets)) == pytest.approx(
        (11.25 - 2.0) / 2.0, abs=1e-3
    )
    assert float(site_loss([Observation("a", relu, wide)], Targets())) == 0.0
    assert float(variance_loss(torch.tensor([1.0, 2.0]), 0.1, 20.0)) == 0.0
    assert float(variance_loss(torch.tensor([1.0, 40.0]), 0.1, 20.0)) > 0.6
    assert float(matching_loss(torch.zeros(3), torch.ones(3))) == pytest.approx(1.0)


class Parrot(nn.Module):
    """Always likes token 2 next; takes embedded tokens of width 3."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 3)

    def get_input_embeddings(self):
        return self.table

    def forward(self, x):
        return torch.tensor([0.0, 1.0, 5.0]).expand(*x.shape[:2], 3)


def test_multiple_choice_takes_the_likeliest_answer():
    context = torch.tensor([0, 1])
    likes, dislikes = torch.tensor([2, 2]), torch.tensor([0])
    choices = [Choice(context, (likes, dislikes), 0), Choice(context, (likes, dislikes), 1)]
    assert multiple_choice(Parrot(), choices) == 0.5
    assert last_word(Parrot(), [Choice(context, (likes,), 0), Choice(context, (dislikes,), 0)]) == 0.5


def test_a_polynomial_is_stated_on_the_interval_that_its_inputs_need_and_stays_what_it_is():
    model = nn.Sequential(PolynomialActivation.fit("relu", degree=7, low=-2.0, high=2.0))
    x = torch.linspace(-2.4, 2.4, 101)
    before = model(x)
    restate(model, measure(model, [x]), margin=0.05)
    assert (model[0].low, model[0].high) == pytest.approx((-2.64, 2.64))
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)
    restate(model, measure(model, [9.0 * x]))
    assert model[0].high == pytest.approx(2.64), "a site that is far out is left to the contract"
