"""Polynomial activations, batch normalisation, and what export sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cipherformer.backends import exact
from cipherformer.capture import capture
from cipherformer.demo.model import DigitsConfig, DigitsViT
from cipherformer.errors import ModelError, ParameterError
from cipherformer.nn import (
    BatchNorm,
    ChannelScaled,
    Pointwise,
    PolynomialActivation,
    PolynomialNorm,
    PowerSoftmax,
    ScaledPowerSoftmax,
    SelfAttention,
    Softmax,
    TwoQuad,
    fit_activation,
    fit_inverse_sqrt,
)
from cipherformer.passes.lower import lower
from cipherformer.train import freeze_polynomials
from cipherformer.train.rules import pointwise_rule
from cipherformer.train.swap import swap

pytestmark = pytest.mark.torch


def exported_ops(model, *inputs):
    program = torch.export.export(model.eval(), inputs)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return program.module(), names


@pytest.mark.parametrize(("name", "stock"), [("gelu", nn.GELU()), ("relu", nn.ReLU()), ("silu", nn.SiLU())])
def test_fit_error_is_the_stated_one(name, stock):
    series = fit_activation(name, 7, -4.0, 3.0)
    x = torch.linspace(-4.0, 3.0, 4001, dtype=torch.float64)
    worst = (PolynomialActivation(series)(x) - stock(x)).abs().max().item()
    assert worst == pytest.approx(series.error, rel=1e-2)
    assert worst < 0.2
    assert series.levels == 3


def test_symmetric_gelu_fit_has_exact_zeros():
    series = fit_activation("gelu", 7, -4.0, 4.0)
    assert series.coefficients[3] == series.coefficients[5] == series.coefficients[7] == 0.0
    assert series.coefficients[1] == pytest.approx(2.0)


@pytest.mark.parametrize("degree", [0, 32])
def test_degree_is_checked(degree):
    with pytest.raises(ParameterError):
        fit_activation("gelu", degree, -1.0, 1.0)


def test_evaluation_matches_numpy():
    series = fit_activation("silu", 9, -3.0, 5.0)
    x = np.linspace(-3.0, 5.0, 50)
    got = PolynomialActivation(series)(torch.tensor(x)).numpy()
    t = (2 * x - 2.0) / 8.0
    np.testing.assert_allclose(got, np.polynomial.chebyshev.chebval(t, series.coefficients), atol=1e-12)


@pytest.mark.parametrize("trainable", [False, True])
def test_half_precision_input_is_computed_in_float32(trainable):
    module = PolynomialActivation.fit("relu", degree=15, low=-8.0, high=8.0, trainable=trainable)
    x = torch.linspace(-8.0, 8.0, 65).bfloat16().requires_grad_()
    y = module(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(y, module(x.float()).bfloat16())


def test_gradients_of_a_fixed_series():
    module = PolynomialActivation.fit("gelu", degree=6, low=-3.0, high=4.0)
    x = torch.linspace(-3.5, 4.5, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x)


def test_trainable_coefficients_learn_and_freeze():
    model = nn.Sequential(PolynomialActivation.fit("relu", degree=4, low=-2.0, high=2.0, trainable=True))
    x = torch.linspace(-2.0, 2.0, 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    first = (model(x) - torch.sigmoid(x)).square().mean()
    for _ in range(100):
        optimizer.zero_grad()
        loss = (model(x) - torch.sigmoid(x)).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * first
    with pytest.raises(ModelError, match="freeze"):
        torch.export.export(model, (x,), strict=False)
    frozen = freeze_polynomials(model)
    assert not list(frozen.parameters())
    torch.testing.assert_close(frozen(x), model(x).detach())


def test_batch_norm_normalises_features_and_evaluates_as_an_affine_map():
    torch.manual_seed(0)
    norm = BatchNorm(5, momentum=None)
    x = torch.randn(16, 7, 5) * torch.arange(1.0, 6.0) + 3.0
    y = norm(x)
    assert y.mean(dim=(0, 1)).abs().max() < 1e-5
    torch.testing.assert_close(y.var(dim=(0, 1), unbiased=False), torch.ones(5), atol=1e-3, rtol=0)
    norm.eval()
    inner = norm.inner
    wanted = torch.nn.functional.batch_norm(
        x.reshape(-1, 5),
        inner.running_mean,
        inner.running_var,
        inner.weight,
        inner.bias,
        False,
        0.0,
        inner.eps,
    )
    torch.testing.assert_close(norm(x), wanted.view_as(x))
    torch.testing.assert_close(norm(x[:, 0]), norm(x)[:, 0])


def test_export_of_the_private_model_emits_one_op_a_site_and_equals_eager():
    torch.manual_seed(0)
    model = DigitsViT(DigitsConfig("private"))
    with torch.no_grad():
        model.attention.query.weight.mul_(20.0)  # scores of order one, so that PowerSoftmax matters
    images = torch.rand(3, 1, 8, 8)
    program, names = exported_ops(model, images)
    assert names.count("cipherformer.power_softmax.default") == 1
    assert names.count("cipherformer.polynomial.default") == 1
    assert not [n for n in names if "softmax" in n and "cipherformer" not in n]
    torch.testing.assert_close(program(images), model(images), atol=1e-5, rtol=0)


def test_export_of_two_quad_and_masks():
    class Masked(nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.inner = SelfAttention(8, 2, weights)
            self.register_buffer("mask", torch.ones(5, 5).tril())

        def forward(self, x):
            return self.inner(x, self.mask)

    x = torch.randn(1, 5, 8)
    for weights, op in ((TwoQuad(), "two_quad"), (PowerSoftmax(), "power_softmax")):
        model = Masked(weights)
        program, names = exported_ops(model, x)
        assert names.count(f"cipherformer.{op}.default") == 1
        torch.testing.assert_close(program(x), model(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["private", "baseline"])
def test_digits_model_shapes(variant):
    assert DigitsViT(DigitsConfig(variant))(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def series(low, high, degree=3):
    return fit_activation("gelu", degree, low, high)


PRIVATE_OPS = {
    "polynomial_norm": (PolynomialNorm(6, fit_inverse_sqrt(0.2, 4.0, 5)), (2, 5, 6)),
    "polynomial_norm, rms": (
        PolynomialNorm(6, fit_inverse_sqrt(0.2, 4.0, 5), centre=False, bias=False),
        (2, 5, 6),
    ),
    "channel_polynomial": (
        ChannelScaled(PolynomialActivation(series(-3.0, 3.0)), torch.tensor([0.5, 1.0, 2.0])),
        (2, 3, 4, 4),
    ),
    "channel_polynomial, last": (
        ChannelScaled(PolynomialActivation(series(-3.0, 3.0)), torch.tensor([0.5, 1.0, 2.0])),
        (2, 5, 3),
    ),
    "pointwise": (Pointwise(PolynomialActivation(series(-3.0, 3.0))), (1, 2, 4, 4)),
}


@pytest.mark.parametrize("name", PRIVATE_OPS)
def test_each_private_form_is_one_op_of_the_graph_with_the_value_of_eager(name):
    torch.manual_seed(1)
    module, shape = PRIVATE_OPS[name]
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    x = torch.randn(shape)
    graph = capture(nn.Sequential(module).eval(), (x,))
    ops = [node.op for node in graph.nodes if node.op not in ("input", "constant")]
    assert ops == [name.split(",")[0]]
    wanted = module(x).detach().numpy()
    for form in (graph, lower(graph), lower(graph, target="ring")):
        got = exact.run(form, {form.inputs[0].name: x.double().numpy()})[form.outputs[0]]
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "op"),
    [
        (PowerSoftmax(), "power_softmax"),
        (TwoQuad(), "two_quad"),
        (Pointwise(PolynomialActivation(series(-3.0, 3.0)), heads=2), "pointwise"),
    ],
)
def test_one_attention_layer_covers_the_three_forms(weights, op):
    """Same layer, same trainable tensors, masks and gradients; the graph has one op for the weighting."""
    torch.manual_seed(2)
    layer = SelfAttention(8, 2, weights)
    x, mask = torch.randn(1, 5, 8), torch.ones(5, 5).tril()
    stock = SelfAttention(8, 2, Softmax()).state_dict()
    assert {n for n in layer.state_dict() if "weights." not in n} == set(stock)
    layer.load_state_dict(stock, strict=False)
    layer(x, mask).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.query.parameters())
    changed = x.clone()
    changed[:, 3:] += 1.0
    torch.testing.assert_close(layer.eval()(changed, mask)[:, :3], layer(x, mask)[:, :3])

    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer
            self.register_buffer("mask", mask)

        def forward(self, x):
            return self.layer(x, self.mask)

    graph = capture(Causal().eval(), (x,))
    assert [node.op for node in graph.nodes].count(op) == 1
    got = exact.run(graph, {graph.inputs[0].name: x.double().numpy()})[graph.outputs[0]]
    np.testing.assert_allclose(got, layer(x, mask).detach().numpy(), atol=1e-5)


def test_the_number_of_heads_is_that_of_the_attention_module_round_a_weighting():
    model = nn.Sequential(SelfAttention(8, 4, Softmax()), nn.Sequential(Softmax()))
    new = swap(model, [pointwise_rule(model, head_norm=True)]).model
    assert new[0].weights.norm.inner.num_features == 4
    assert new[1][0].norm is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forms_are_finite_in_half_precision_with_finite_gradients(dtype):
    headed = ScaledPowerSoftmax()
    headed.rescale(torch.rand(3, 1, 1), torch.rand(3, 1, 1))
    for module, shape in (*PRIVATE_OPS.values(), (headed, (2, 3, 4, 4)), (TwoQuad(), (2, 3, 4))):
        x = (4.0 * torch.randn(shape)).to(dtype).requires_grad_()
        y = module.to(dtype)(x)
        y.float().square().sum().backward()
        assert y.dtype == dtype and torch.isfinite(y).all() and torch.isfinite(x.grad).all()
        module.float()
