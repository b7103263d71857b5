"""PowerSoftmax's public numbers, fitted to the weights of a softmax."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cipherformer.nn import ScaledPowerSoftmax, Softmax
from cipherformer.train.prepare import weight_scores
from cipherformer.train.weighting import fit_weightings, sample_rows


class Attention(nn.Module):
    def __init__(self, weights: nn.Module) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.weights(x, mask)


@pytest.mark.parametrize("heads", [True, False])
def test_fitted_numbers_come_nearer_to_the_softmax_within_the_contract(heads: bool):
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.5, 2.0])[:, None, None]
    x = spread * torch.randn(24, 2, 8, 8, generator=generator)
    x[0] *= 8.0  # an outlier: its moments alone make all other rows small
    mask = torch.ones(8, 8).tril().bool()
    x, mask = (x, mask) if heads else (x[:, 1], mask)
    exact = Attention(Softmax()).eval()
    wanted = exact(x, mask)
    model = Attention(ScaledPowerSoftmax(4, 1e-2)).eval()
    weight_scores(model, [(x, mask)], shifted=True)
    moments = (model(x, mask) - wanted).abs().mean()
    rows = sample_rows(exact, [(x, mask)])
    assert rows["weights"][0].shape[-3:] == ((2, 1, 8) if heads else (1, 1, 8))
    fit_weightings(model, rows)
    assert (model(x, mask) - wanted).abs().mean() < 0.8 * moments
    found = model.weights.normaliser(x, mask)
    assert found.amax() / found.amin() < 32.0
    assert model.weights.factor.dim() == (3 if heads else 0)
