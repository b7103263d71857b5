"""PowerSoftmax: one function in two forms, stable in training, masked by multiplication."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer.errors import ParameterError
from cipherformer.nn import PowerSoftmax, SelfAttention, Softmax, TwoQuad, custom_ops, functional

pytestmark = pytest.mark.torch


@settings(max_examples=60, deadline=None)
@given(
    exponent=st.sampled_from([2, 4, 6, 8]),
    epsilon=st.sampled_from([1e-4, 1e-3, 1e-2, 0.3]),
    scale=st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
    length=st.integers(1, 9),
    seed=st.integers(0, 1000),
    masked=st.booleans(),
)
def test_stable_form_is_the_inference_form(exponent, epsilon, scale, length, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 3, length, length, generator=generator, dtype=torch.float64) * scale
    mask = torch.ones(length, length).tril() if masked else None
    stable = functional.power_softmax(scores, mask, exponent=exponent, epsilon=epsilon)
    inference = custom_ops.power_softmax(scores, mask, exponent, epsilon)
    torch.testing.assert_close(stable, inference, rtol=1e-10, atol=1e-14)


def test_weights_are_those_of_the_paper_when_epsilon_vanishes():
    scores = torch.tensor([[1.0, -2.0, 3.0]])
    weights = functional.power_softmax(scores, exponent=2, epsilon=0.0)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 4.0, 9.0]]) / 14.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-4, 1.0, 1e3, 1e15])
def test_values_and_gradients_are_finite(dtype, scale):
    scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    scores = (scores * scale).to(dtype).requires_grad_()
    weights = functional.power_softmax(scores, exponent=6, epsilon=1e-3)
    (weights * torch.arange(8)).sum().backward()
    assert weights.dtype == dtype
    assert torch.isfinite(weights).all()
    assert torch.isfinite(scores.grad).all()
    assert (weights >= 0).all()
    assert (weights.sum(-1) <= 1.01).all()


def test_gradient_is_that_of_the_inference_form():
    scores = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def through(form):
        x = scores.clone().requires_grad_()
        (form(x) * torch.arange(5)).sum().backward()
        return x.grad

    def plain(x):
        return x**4 / (0.01 + (x**4).mean(-1, keepdim=True)) / 5

    stable = through(lambda x: functional.power_softmax(x, exponent=4, epsilon=0.01))
    torch.testing.assert_close(stable, through(plain))


def test_normaliser_is_epsilon_plus_the_mean_of_powers():
    module = PowerSoftmax(4, 0.02)
    scores = torch.zeros(1, 1, 4, 4)
    assert (
        module.normaliser(scores).tolist() == pytest.approx([0.02] * 4)
        or (module.normaliser(scores) >= 0.02 - 1e-9).all()
    )


@pytest.mark.parametrize("weights", [PowerSoftmax(4, 1e-2), TwoQuad(), Softmax()])
def test_a_future_token_does_not_change_earlier_outputs(weights):
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, weights).eval()
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4] += 3.0
    causal = torch.ones(6, 6).tril()
    before, after = layer(x, causal), layer(changed, causal)
    torch.testing.assert_close(before[:, :4], after[:, :4], rtol=0, atol=0)
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3
    assert (layer(x) - layer(changed))[:, :4].abs().max() > 1e-3


def test_masked_entries_get_no_weight():
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    scores = torch.tensor([[0.5, 100.0, 1.0, -7.0]])
    for module in (PowerSoftmax(4, 1e-3), TwoQuad(), Softmax()):
        weights = module(scores, mask)
        assert weights[0, 1] == weights[0, 3] == 0.0
        assert weights.sum() == pytest.approx(1.0, abs=0.02)


def test_two_quad_is_its_formula():
    weights = functional.two_quad(torch.tensor([[1.0, -1.0]]), offset=5.0)
    torch.testing.assert_close(weights, torch.tensor([[36.0, 16.0]]) / 52.0)


@pytest.mark.parametrize("exponent", [0, 1, 3, -2])
def test_exponent_must_be_even_and_positive(exponent):
    with pytest.raises(ParameterError, match="even"):
        PowerSoftmax(exponent)


def test_attention_keeps_the_trainable_tensors_of_stock_attention():
    stock, private = SelfAttention(8, 2, Softmax()), SelfAttention(8, 2, PowerSoftmax())
    assert {k: v.shape for k, v in stock.state_dict().items()} == {
        k: v.shape for k, v in private.state_dict().items()
    }
