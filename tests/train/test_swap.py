"""Swap: every site counted, weights carried over, mismatches refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cipherformer.errors import ModelError
from cipherformer.nn import BatchNorm, PolynomialActivation, PowerSoftmax, SelfAttention, Softmax
from cipherformer.train import measure_batch_norm, rescale_scores
from cipherformer.train.observe import observe
from cipherformer.train.swap import (
    average_pool_rule,
    batch_norm_rule,
    polynomial_rule,
    power_softmax_rule,
    swap,
)

pytestmark = pytest.mark.torch


class Block(nn.Module):
    def __init__(self, multihead: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.multihead = nn.MultiheadAttention(8, 2, batch_first=True) if multihead else None
        self.attention = None if multihead else SelfAttention(8, 2, Softmax())
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x, mask=None):
        y = self.norm(x)
        if self.multihead is not None:
            y = self.multihead(y, y, y, need_weights=False, attn_mask=mask)[0]
        else:
            y = self.attention(y, None if mask is None else ~mask)
        return x + self.mlp(x + y)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(Block(True), Block(False)).eval()


RULES = [power_softmax_rule(4, 1e-2), batch_norm_rule(), polynomial_rule(7, (-5.0, 5.0))]


def test_every_site_is_replaced_and_counted(model):
    done = swap(model, RULES, expected={"attention": 2, "norm": 2, "activation": 2})
    assert [done.count(kind) for kind in ("attention", "norm", "activation")] == [2, 2, 2]
    kinds = {type(m) for m in done.model.modules()}
    assert not kinds & {nn.LayerNorm, nn.GELU, nn.MultiheadAttention, Softmax}
    assert {PowerSoftmax, BatchNorm, PolynomialActivation} <= kinds
    assert {(s.name, s.before) for s in done.sites} >= {
        ("0.multihead", "MultiheadAttention"),
        ("1.norm", "LayerNorm"),
    }
    assert any(isinstance(m, nn.GELU) for m in model.modules()), "the given model is left as it is"
    assert done.model(torch.randn(2, 3, 8)).shape == (2, 3, 8)


@pytest.mark.parametrize("masked", [False, True])
def test_split_projections_compute_what_multihead_attention_did(masked):
    torch.manual_seed(0)
    stock = Block(True).eval()
    done = swap(stock, [power_softmax_rule()]).model
    done.multihead.attention.weights = Softmax()
    x = torch.randn(2, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if masked else None
    torch.testing.assert_close(done(x, mask), stock(x, mask), atol=1e-5, rtol=1e-5)


def test_weights_carry_over(model):
    with torch.no_grad():
        model[0].norm.weight.fill_(2.0)
    new = swap(model, RULES).model
    assert (new[0].norm.inner.weight == 2.0).all()
    assert torch.equal(new[1].attention.query.weight, model[1].attention.query.weight)
    query = new[0].multihead.attention.query.weight
    assert torch.equal(query, model[0].multihead.in_proj_weight[:8])


def test_a_rule_without_sites_or_with_a_wrong_count_is_refused(model):
    with pytest.raises(ModelError, match="replaced 0 sites of kind 'pool'"):
        swap(model, [average_pool_rule()])
    with pytest.raises(ModelError, match="replaced 2 sites of kind 'norm', expected 3"):
        swap(model, [batch_norm_rule()], expected={"norm": 3})


def test_a_shared_module_stays_shared():
    activation = nn.ReLU()
    model = nn.Sequential(activation, nn.Linear(2, 2), activation)
    done = swap(model, [polynomial_rule(3, (-1.0, 1.0))])
    assert done.count("activation") == 2
    assert done.model[0] is done.model[2]


def test_refusals_name_the_module():
    with pytest.raises(ModelError, match="0: this form of MultiheadAttention"):
        swap(nn.Sequential(nn.MultiheadAttention(8, 2)), [power_softmax_rule()])
    with pytest.raises(ModelError, match="0: a LayerNorm over several axes"):
        swap(nn.Sequential(nn.LayerNorm((2, 3))), [batch_norm_rule()])
    adapted = swap(
        nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True)), [power_softmax_rule()]
    ).model[0]
    x, other = torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    with pytest.raises(ModelError, match="cross-attention"):
        adapted(x, other, other, need_weights=False)
    with pytest.raises(ModelError, match="need_weights=False"):
        adapted(x, x, x)
    with pytest.raises(ModelError, match="additive"):
        adapted(x, x, x, need_weights=False, attn_mask=torch.zeros(3, 3))


def test_average_pool_keeps_the_geometry():
    model = nn.Sequential(nn.MaxPool2d(3, 2, padding=1))
    pool = swap(model, [average_pool_rule()]).model[0]
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 2, 1)


def test_intervals_by_site():
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2), nn.ReLU())
    new = swap(model, [polynomial_rule(3, {"0": (-1.0, 2.0), "2": (-3.0, 4.0)})]).model
    assert (new[0].low, new[0].high, new[2].low, new[2].high) == (-1.0, 2.0, -3.0, 4.0)


def test_rescaled_scores_reach_the_bound_in_every_head(model):
    new = swap(model, RULES).model
    x = torch.randn(4, 5, 8)
    rescale_scores(new, x, 0.8)
    with torch.no_grad(), observe(new, (PowerSoftmax,)) as seen:
        new(x)
        for call in seen.take():
            torch.testing.assert_close(call.value.abs().amax(dim=(0, 2, 3)), torch.full((2,), 0.8))


def test_measured_batch_norm_has_the_statistics_of_the_data():
    model = nn.Sequential(BatchNorm(3), nn.Dropout(0.9)).eval()
    data = torch.randn(64, 4, 3) * 5.0 + 2.0
    measure_batch_norm(model, data.split(16))
    assert not model.training and not model[0].training and not model[0].inner.training
    torch.testing.assert_close(model[0].inner.running_mean, data.mean(dim=(0, 1)), atol=1e-4, rtol=1e-4)
    assert model(data).detach().std() == pytest.approx(1.0, abs=0.02)


def test_a_copy_may_share_its_weights():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4))
    rule = polynomial_rule(3, (-2.0, 2.0))
    alone, shared = (swap(model, [rule], share=share).model for share in (False, True))
    assert alone[0].weight is not model[0].weight and shared[0].weight is model[0].weight
    assert type(shared[1]) is type(alone[1]) and type(model[1]) is nn.ReLU
