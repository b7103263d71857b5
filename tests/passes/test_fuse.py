"""Written-out normalisations become one op, whatever the writing; what is none is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cipherformer.backends import exact
from cipherformer.capture import capture
from cipherformer.passes.fuse import fuse_norms

pytestmark = pytest.mark.torch
W, B = torch.linspace(0.5, 2.0, 6), torch.linspace(-1.0, 1.0, 6)


def rms(x: Tensor) -> Tensor:
    return W * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def rms_by_division(x: Tensor) -> Tensor:
    return (x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5)) * (1.0 + W)


def layer(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-6) ** -0.5 * W + B


def layer_by_variance(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt() + B


def two_axes(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean((1, 2), keepdim=True) + 0.1)


def without_epsilon(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))


def of_another(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x + 1.0).pow(2).mean(-1, keepdim=True) + 0.1)


WRITTEN = (
    (rms, "rms_norm", 2),
    (rms_by_division, "rms_norm", 2),
    (layer, "layer_norm", 3),
    (layer_by_variance, "layer_norm", 3),
    (two_axes, "rms_norm", 1),
    (without_epsilon, "inverse_sqrt", 1),
    (of_another, "inverse_sqrt", 1),
)


@pytest.mark.parametrize("function, op, operands", WRITTEN)
def test_forms(function: object, op: str, operands: int):
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)  # type: ignore[operator,no-any-return]

    x = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0))
    graph = capture(Model(), (x,))
    fused = fuse_norms(graph)
    found = [n for n in fused if n.op in ("rms_norm", "layer_norm", "inverse_sqrt")]
    assert [(n.op, len(n.inputs)) for n in found] == [(op, operands)]
    got = exact.run(fused, {graph.inputs[0].name: x.double().numpy()})[fused.outputs[0]]
    np.testing.assert_allclose(got, Model()(x).numpy(), atol=1e-5)
