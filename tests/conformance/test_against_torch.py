"""The references of the op table against torch, which was written by others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cipherformer.ops import OPS

pytestmark = pytest.mark.torch


def _batch_norm(x: Tensor, mean: Tensor, var: Tensor, *affine: Tensor, epsilon: float, axis: int) -> Tensor:
    moved = x.movedim(axis, 1) if x.dim() > 1 else x
    return F.batch_norm(moved, mean, var, *affine, eps=epsilon).movedim(1, axis)


def _affine(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def function(x: Tensor, *parts: Tensor, epsilon: float, axes: tuple[int, ...]) -> Tensor:
        sizes = [x.shape[a] for a in axes]
        scaled = op(x, sizes, eps=epsilon)
        scaled = scaled * parts[0] if parts else scaled
        return scaled + parts[1] if len(parts) > 1 else scaled

    return function


def _hidden(x: Tensor, *mask: Tensor) -> Tensor:
    return x.masked_fill(mask[0] == 0, -torch.inf) if mask else x


TORCH: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "neg": torch.neg,
    "matmul": torch.matmul,
    "linear": F.linear,
    "conv2d": F.conv2d,
    "avg_pool2d": lambda x, kernel, stride, padding: F.avg_pool2d(x, kernel, stride, padding),
    "max_pool2d": lambda x, kernel, stride, padding: F.max_pool2d(x, kernel, stride, padding),
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, dims: x.permute(dims),
    "expand": lambda x, shape: x.expand(shape),
    "slice": lambda x, dim, start, stop, step: x[:, start:stop:step],
    "concat": lambda *xs, dim: torch.cat(xs, dim),
    "sum": lambda x, dims, keepdim: x.sum(dims, keepdim),
    "mean": lambda x, dims, keepdim: x.mean(dims, keepdim),
    "power": lambda x, exponent: x**exponent,
    "reciprocal": torch.reciprocal,
    "gelu": lambda x, approximate: F.gelu(x, approximate=approximate),
    "relu": F.relu,
    "function": lambda x, program: x * torch.sigmoid(1.7 * x) + 0.25,
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "erf": torch.erf,
    "inverse_sqrt": torch.rsqrt,
    "log": torch.log,
    "softmax": lambda x, *mask, dim: torch.softmax(_hidden(x, *mask), dim),
    "largest": lambda x, *mask, dim: _hidden(x, *mask).amax(dim, keepdim=True),
    "layer_norm": _affine(F.layer_norm),
    "rms_norm": _affine(F.rms_norm),
    "batch_norm": _batch_norm,
}


@pytest.mark.parametrize("name", sorted(TORCH))
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_reference_equals_torch(name: str, seed: int):
    case = CASES[name](np.random.default_rng(seed))
    wanted = TORCH[name](*map(torch.from_numpy, case.operands), **case.attrs)
    got = OPS[name].reference(list(case.operands), case.attrs)
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-10, atol=1e-10)


def test_only_the_package_s_own_ops_have_no_torch_form():
    own = {"polynomial", "power_softmax", "two_quad", "trunc", "lift", "extend", "narrow", "keep", "select"}
    own |= {"fourier", "pointwise", "channel_polynomial", "polynomial_norm"}
    assert set(CASES) - set(TORCH) == own
