"""Lifting: functional calls and the attention of transformers become modules that compute the same."""

from __future__ import annotations

import pytest
import torch
from architectures import zoo
from torch import nn
from torch.nn import functional as F  # noqa: N812

from cipherformer.capture import capture, check, pretrained
from cipherformer.errors import ModelError
from cipherformer.nn import DotProductAttention, ScaledPowerSoftmax, Softmax
from cipherformer.train.build import Swapper
from cipherformer.train.lift import lift
from cipherformer.train.observe import observe
from cipherformer.train.recipes import recipe

pytestmark = pytest.mark.torch


class Mixed(nn.Module):
    """Functions, a module of the same kind beside them, a child with functions of its own, and attention."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.linear, self.relu, self.inner = nn.Linear(4, 4), nn.ReLU(), inner

    def forward(self, x):
        x = F.relu(self.linear(x))
        x = self.relu(x - 0.1)
        if self.inner is not None:
            x = self.inner(x)
        q = x.unsqueeze(1)
        return torch.relu(x - 0.2) + F.scaled_dot_product_attention(q, q, q, is_causal=True).squeeze(1)


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    return Mixed(Mixed()).eval()


def test_lifted_calls_are_those_of_their_own_module(mixed):
    x = torch.randn(2, 3, 4)
    lifted = lift(mixed, x)
    names = {n for n, _ in lifted.named_modules() if n.rpartition(".")[2].startswith("lifted_")}
    own = {"lifted_relu_0", "lifted_relu_1", "lifted_attention_0"}
    assert names == own | {f"inner.{name}" for name in own}
    assert not any("lifted" in n for n, _ in mixed.named_modules())
    torch.testing.assert_close(lifted(x), mixed(x))
    lifted.lifted_relu_1 = nn.Identity()
    lifted.inner.lifted_relu_0 = nn.Tanh()
    assert not torch.allclose(lifted(x), mixed(x))
    with observe(lifted, (nn.ReLU, DotProductAttention, nn.Tanh)) as seen:
        lifted(x)
    inner = [f"inner.{name}" for name in ("lifted_relu_0", "relu", "lifted_relu_1", "lifted_attention_0")]
    assert [c.name for c in seen.take()] == ["lifted_relu_0", "relu", *inner, "lifted_attention_0"]


def test_a_lifted_model_exports_and_its_gradients_are_those_of_the_model(mixed):
    x = torch.randn(1, 3, 4)
    lifted = lift(mixed, x)
    for model in (mixed, lifted):
        model.zero_grad()
        model(x).sum().backward()
    torch.testing.assert_close(lifted.linear.weight.grad, mixed.linear.weight.grad)
    assert {"relu", "softmax"} <= {node.op for node in capture(lifted, (x,)).nodes}


def test_an_additive_mask_inside_a_function_is_refused():
    class Masked(nn.Module):
        def forward(self, x):
            return (x @ x.mT).masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf")).softmax(-1)

    with pytest.raises(ModelError, match="additive mask"):
        lift(Masked(), torch.randn(1, 3, 4))


HUGGING_FACE = ("llama", "gpt2", "gpt_neox", "bert", "roberta", "vit", "clip_vision")


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_attention_of_transformers_is_swapped_through_its_interface(name):
    loaded = pretrained.wrapped(zoo.model(name), name, tokens=6)
    x = torch.randn(2, *loaded.example_inputs[0].shape[1:], generator=torch.Generator().manual_seed(0))
    lifted = lift(loaded.module, x)
    torch.testing.assert_close(lifted(x), loaded.module(x), atol=2e-4, rtol=2e-4)
    sites = [n for n, m in lifted.named_modules() if isinstance(m, Softmax)]
    assert len(sites) == 2
    conversion = recipe("default")
    model, _ = Swapper(conversion, lambda _: [x])(lifted, conversion.stages[0])
    assert sum(isinstance(m, ScaledPowerSoftmax) for m in model.modules()) == 2
    model.eval()
    assert torch.isfinite(model(x)).all()
    if name in ("llama", "gpt2", "gpt_neox"):  # causal: a later token changes nothing before it
        changed = x.clone()
        changed[:, -1] += 1.0
        torch.testing.assert_close(model(changed)[:, :-1], model(x)[:, :-1])
    if name == "gpt2":
        assert isinstance(lifted.get_submodule("model.transformer.h.0.mlp.act"), nn.GELU)
    kinds = {obstacle.what.split(" of ")[0] for obstacle in check(model, (x[:1],))}
    assert not kinds & {"softmax", "layer_norm", "rms_norm", "gelu", "silu"}
