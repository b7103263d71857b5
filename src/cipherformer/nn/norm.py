"""Normalisation without division: by statistics that are constants at inference, or by a polynomial."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cipherformer.approx.chebyshev import Series
from cipherformer.approx.least_squares import least_squares
from cipherformer.nn.activation import PolynomialActivation


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
        assert inner.running_mean is not None and inner.running_var is not None
        scale = inner.weight * torch.rsqrt(inner.running_var + inner.eps)
        return x * scale + (inner.bias - inner.running_mean * scale)


class HeadBatchNorm(nn.Module):
    """BatchNorm2d over the heads of attention scores [B, H, T, S], before or after the weighting's
    activation.

    Source: Zimerman et al., arXiv 2311.08610, section 4 (vision models).
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.inner = nn.BatchNorm2d(heads)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, T, S] -> the same shape; affine in evaluation."""
        return self.inner(x)


def fit_inverse_sqrt(low: float, high: float, degree: int, samples: Tensor | None = None) -> Series:
    """A polynomial for 1/sqrt(v) on [low, high], of least relative mean square error."""
    points = None if samples is None else samples.double().cpu().numpy()
    return least_squares(
        lambda v: 1.0 / np.sqrt(np.maximum(v, 1e-3 * low)),
        low,
        high,
        degree,
        samples=points,
        everywhere=0.2,
        relative=True,
    )


class ConstantNorm(nn.Module):
    """LayerNorm or RMSNorm with one learnt number in place of every token's deviation: affine, no level.

    What normalisation does to single tokens is lost and has to be trained back, best layer by layer. The
    number is kept as its logarithm, so that it stays positive.

    Args:
        width: number of features.
        denominator: to start from: the deviation of a typical token.
        centre: subtract the mean first (LayerNorm); RMSNorm does not.
        bias: whether there is one.
    """

    def __init__(
        self, width: int, denominator: float = 1.0, *, centre: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.centre = centre
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.log_denominator = nn.Parameter(torch.tensor(float(np.log(denominator))))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        centred = x - x.mean(dim=-1, keepdim=True) if self.centre else x
        scaled = centred * (self.weight * torch.exp(-self.log_denominator))
        return scaled if self.bias is None else scaled + self.bias

    def extra_repr(self) -> str:
        """For printing."""
        return f"centre={self.centre}"


class InverseSqrt(PolynomialActivation):
    """The polynomial for 1/sqrt(v) inside a `PolynomialNorm`, a type of its own: its inputs are variances.

    While guarded it goes on beyond its interval like the function itself: a tangent there turns negative, and
    what is normalised by it grows from layer to layer.
    """

    def _continued(self, x: Tensor) -> Tensor:
        inside = x.clamp(self.low, self.high)
        return self._polynomial(inside) * (inside / x.clamp(min=1e-12)).sqrt()


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class PolynomialNorm(nn.Module):
    """LayerNorm or RMSNorm whose inverse square root is a polynomial on a stated interval of the variance.

    Keeps what normalisation does to each token, which language models need, at ceil(log2(degree + 1)) + 3
    levels. A loss must keep the variance inside the interval; see `train.losses`.
    Source: Zimerman et al., arXiv 2311.08610, section 3.

    Args:
        width: number of features.
        series: approximates 1/sqrt(v) of the variance plus epsilon; see `fit_inverse_sqrt`.
        epsilon: added to the variance.
        centre: subtract the mean first (LayerNorm); RMSNorm does not.
        bias: whether there is one.
    """

    def __init__(
        self, width: int, series: Series, epsilon: float = 1e-5, *, centre: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.epsilon, self.centre = epsilon, centre
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.inverse_sqrt = InverseSqrt(series)

    def variance(self, x: Tensor) -> Tensor:
        """What the inverse square root is taken of: [..., C] -> [..., 1]."""
        x = _wide(x)
        centred = x - x.mean(dim=-1, keepdim=True) if self.centre else x
        return (centred * centred).mean(dim=-1, keepdim=True) + self.epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]. Half precision is computed in float32."""
        if torch.compiler.is_exporting():
            root = self.inverse_sqrt.constants()
            return torch.ops.cipherformer.polynomial_norm(
                x, self.weight, self.bias, *root, self.epsilon, self.centre
            )
        inner = _wide(x)
        centred = inner - inner.mean(dim=-1, keepdim=True) if self.centre else inner
        variance = (centred * centred).mean(dim=-1, keepdim=True) + self.epsilon
        scaled = centred * self.inverse_sqrt(variance) * self.weight
        return (scaled if self.bias is None else scaled + self.bias).to(x.dtype)

    def extra_repr(self) -> str:
        """For printing."""
        return f"epsilon={self.epsilon:g}, centre={self.centre}"


class ChannelsFirst(nn.Module):
    """A norm over the last axis, of images [B, C, H, W] over their channels."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
