"""Captured graphs equal their modules; what cannot be captured is named, all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cipherformer.nn as private
from cipherformer.backends import exact
from cipherformer.capture import capture, check
from cipherformer.errors import ModelError
from cipherformer.graph.verify import verify
from cipherformer.passes.fold import fold

pytestmark = pytest.mark.torch


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.table = nn.Embedding(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def agree(module: nn.Module, *inputs: Tensor, **public: Any) -> None:
    module.eval()
    graph = capture(module, inputs, public=public)
    with torch.no_grad():
        wanted = [
            t for t in torch.utils._pytree.tree_leaves(module(*inputs, **public)) if isinstance(t, Tensor)
        ]
    arrays = {node.name: x.numpy() for node, x in zip(graph.inputs, inputs, strict=True)}
    for stage in (graph, verify(fold(graph), "folded")):
        values = exact.run(stage, arrays)
        assert len(stage.outputs) == len(wanted)
        for name, tensor in zip(stage.outputs, wanted, strict=True):
            np.testing.assert_allclose(values[name], tensor.numpy(), atol=1e-5)


X = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))


def arithmetic(m: Lambda, x: Tensor) -> Tensor:
    return (2.0 - x) * 3.0 / 4.0 + torch.rsub(x, 1.0) - x.neg() - torch.add(x, x, alpha=2)


def powers(m: Lambda, x: Tensor) -> Tensor:
    positive = x**2 + 1.0
    return x.pow(3) + x.square() + 1.0 / positive + positive**-0.5 + positive.sqrt() + x / positive


def matrices(m: Lambda, x: Tensor) -> Tensor:
    rows = torch.addmm(m.weight[0], x[0], m.weight) + x[0] @ x[0, 0][:, None]
    return x @ m.weight + x @ x.mT @ x + rows + x[0] @ x[0, 1] @ x[0]


def shapes(m: Lambda, x: Tensor) -> tuple[Tensor, ...]:
    wide = x.unsqueeze(1).expand(-1, 2, -1, -1).permute(0, 2, 1, 3)
    return wide.reshape(1, 3, 8), x.squeeze(), x.flatten(1).unflatten(1, (4, 3)).transpose(-1, -2)


def pieces(m: Lambda, x: Tensor) -> tuple[Tensor, ...]:
    parts = (*x.chunk(2, dim=-1), *x.split([1, 3], dim=2), *x.unbind(1))
    return (*parts, x[:, 1], x[:, 1:3, ::2], x.narrow(1, 1, 2))


def joins(m: Lambda, x: Tensor) -> Tensor:
    return torch.cat([x, m.weight[None], torch.stack([x[:, 0], x[:, 1]], 1)], dim=1)


def reductions(m: Lambda, x: Tensor) -> tuple[Tensor, ...]:
    return x.mean(), x.sum((1, 2)), x.mean(-1, keepdim=True), x.var(-1), x.sum(1, keepdim=True)


def activations(m: Lambda, x: Tensor) -> Tensor:
    smooth = nn.functional.silu(x) + nn.functional.gelu(x) + nn.functional.gelu(x, approximate="tanh")
    return x.relu() + x.sigmoid() + x.tanh() + x.exp() + x.erf() + nn.functional.leaky_relu(x) + smooth


def in_place(m: Lambda, x: Tensor) -> Tensor:
    return (x * 2.0).relu_().add_(1.0)


def masks(m: Lambda, x: Tensor) -> Tensor:
    filled = x.masked_fill(torch.ones(3, 4).triu(2).bool(), 0.5)
    return filled + torch.where(m.weight[:3] > 0, x, 0.0)


def hidden_scores(m: Lambda, x: Tensor) -> Tensor:
    return x.masked_fill(torch.ones(3, 4).triu(1).bool(), -torch.inf).softmax(-1)


def casts(m: Lambda, x: Tensor) -> Tensor:
    return x.to(torch.float32).clone().contiguous().detach() * 1.0


def public_part(m: Lambda, x: Tensor) -> Tensor:
    return x * torch.arange(4).float().cumsum(0).sort(descending=True).values


def normalisations(m: Lambda, x: Tensor) -> Tensor:
    return nn.functional.rms_norm(x, (4,), m.weight[0], 1e-3) + nn.functional.layer_norm(x, (3, 4))


def private_ops(m: Lambda, x: Tensor) -> Tensor:
    ops = torch.ops.cipherformer
    weights = ops.power_softmax(x, torch.ones(3, 4).tril(), 4, 0.1) + ops.two_quad(x, None, 5.0)
    return ops.polynomial(x, [0.1, 0.5, 0.2], -3.0, 3.0) + weights


def decomposed(m: Lambda, x: Tensor) -> Tensor:
    return torch.einsum("bij,kj->bik", x, m.weight) + nn.functional.hardtanh(m.weight)[:3]


FUNCTIONS = (
    arithmetic,
    powers,
    matrices,
    shapes,
    pieces,
    joins,
    reductions,
    activations,
    in_place,
    masks,
    hidden_scores,
    casts,
    public_part,
    normalisations,
    private_ops,
    decomposed,
)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions(function: Any):
    agree(Lambda(function), X)


LAYERS = {
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True), (1, 3, 8)),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same", groups=2),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, padding=1),
            nn.Conv2d(4, 6, (2, 3), stride=(1, 2), dilation=(2, 1)),
            nn.AvgPool2d(2, stride=1, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(6, 3),
        ),
        (1, 2, 10, 10),
    ),
    "sequence": (nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.SiLU()), (1, 3, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_stock_layers(name: str):
    module, shape = LAYERS[name]
    agree(module, torch.randn(shape))


def test_attention_with_a_public_mask():
    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            heads = x.reshape(1, 3, 2, 2).transpose(1, 2)
            causal = nn.functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
            return causal + nn.functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)

    agree(Masked(), X, mask=torch.ones(3, 3).tril().bool())


def test_multihead_attention_keeps_heads_apart():
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            return self.inner(x, x, x)

    agree(Attend(), torch.randn(1, 3, 8))


def test_the_digits_models():
    from cipherformer.demo.model import DigitsConfig, DigitsViT

    for variant in ("private", "baseline"):
        agree(DigitsViT(DigitsConfig(variant=variant)), torch.rand(1, 1, 8, 8))


def test_hugging_face_encoders():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit = transformers.ViTConfig(**sizes, image_size=8, patch_size=4)
    agree(transformers.ViTForImageClassification(vit), torch.randn(1, 3, 8, 8))

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = transformers.BertConfig(**sizes, vocab_size=30, attn_implementation="eager")
            self.inner = transformers.BertModel(config)

        def forward(self, embeddings: Tensor) -> Tensor:
            return self.inner(inputs_embeds=embeddings).last_hidden_state

    agree(Bert(), torch.randn(1, 5, 16))


def test_origins_are_module_paths():
    graph = capture(LAYERS["encoder"][0], (torch.randn(1, 3, 8),))
    origins = {node.op: node.origin for node in graph}
    assert origins["softmax"] == "self_attn"
    assert origins["layer_norm"] == "norm2"


def test_what_does_not_depend_on_the_input_is_a_constant():
    graph = capture(Lambda(lambda m, x: x + m.weight.sum() * torch.arange(4).float()), (X,))
    assert [n.op for n in graph] == ["input", "constant", "add"]


def test_every_obstacle_is_found_at_once():
    def bad(module: Any, x: Tensor) -> Tensor:
        sums = x.cumsum(1)
        return module.table(x.long()) + x.sort().values[..., None] + sums[..., None]

    module = Lambda(bad)
    found = check(module, (X,))
    assert [o.what.split(" of ")[0] for o in found] == [
        "aten.cumsum.default",
        "a cast to torch.int64",
        "a table look-up at a secret index",
        "aten.sort.default",
    ]
    assert found[2].where == "table"
    assert all(o.why and o.fix for o in found)
    with pytest.raises(ModelError, match=r"4 obstacles(.|\n)*cumsum(.|\n)*look-up(.|\n)*sort"):
        capture(module, (X,))


def test_check_knows_what_the_target_cannot_do():
    encoder = LAYERS["encoder"][0]
    found = check(encoder, (torch.randn(1, 3, 8),))
    assert [(o.where, o.what.split(" ")[0]) for o in found] == [
        ("self_attn", "softmax"),
        ("norm1", "layer_norm"),
        ("norm2", "layer_norm"),
    ]
    assert check(encoder, (torch.randn(1, 3, 8),), target=None) == []


def test_a_private_model_has_no_obstacles():
    module = nn.Sequential(nn.Linear(4, 4), private.PolynomialActivation.fit(degree=3, low=-2.0, high=2.0))
    assert check(module, (X,)) == []


def test_control_flow_on_values_is_one_obstacle():
    def branch(module: Any, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    (obstacle,) = check(Lambda(branch), (X,))
    assert "torch.export" in obstacle.what
    assert "control flow" in obstacle.fix


def test_a_constant_model_is_refused():
    with pytest.raises(ModelError, match="does not depend on the input"):
        capture(Lambda(lambda m, x: m.weight * 2.0), (X,))


def test_training_mode_is_restored():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout()).train()
    module[0].eval()
    capture(module, (X,))
    assert module.training
    assert not module[0].training
    assert module[1].training
