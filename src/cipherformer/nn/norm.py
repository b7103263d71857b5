"""Normalisation with statistics that are constants at inference."""

from __future__ import annotations

from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation over the last axis (features) of [B, T, C] or [B, C].

    In place of LayerNorm in vision models it folds into the neighbouring linear layers and costs nothing
    under encryption (Zimerman et al., arXiv 2311.08610, section 4). Weight and bias are those of the
    LayerNorm.

    Args:
        width: number of features.
        epsilon: added to the variance.
        momentum: of the running statistics; None averages over all batches seen.
    """

    def __init__(self, width: int, epsilon: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.inner = nn.BatchNorm1d(width, eps=epsilon, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """In training by the statistics of batch and tokens, in evaluation by the running ones: `x s + t`."""
        if self.training:
            return self.inner(x.reshape(-1, x.shape[-1])).view_as(x)
        inner = self.inner
        scale = inner.weight * (inner.running_var + inner.eps).rsqrt()
        return x * scale + (inner.bias - inner.running_mean * scale)
