"""Private-form torch modules: differentiable in training, one custom op each under `torch.export`."""

from cipherformer.nn.activation import ChannelScaled, PolynomialActivation, fit_activation
from cipherformer.nn.attention import (
    DotProductAttention,
    MultiheadAdapter,
    Pointwise,
    PowerSoftmax,
    ScaledPowerSoftmax,
    SelfAttention,
    Softmax,
    TwoQuad,
)
from cipherformer.nn.blend import Blend
from cipherformer.nn.norm import (
    BatchNorm,
    ChannelsFirst,
    ConstantNorm,
    HeadBatchNorm,
    InverseSqrt,
    PolynomialNorm,
    fit_inverse_sqrt,
)

__all__ = [
    "BatchNorm",
    "Blend",
    "ChannelScaled",
    "ChannelsFirst",
    "ConstantNorm",
    "DotProductAttention",
    "HeadBatchNorm",
    "InverseSqrt",
    "MultiheadAdapter",
    "Pointwise",
    "PolynomialActivation",
    "PolynomialNorm",
    "PowerSoftmax",
    "ScaledPowerSoftmax",
    "SelfAttention",
    "Softmax",
    "TwoQuad",
    "fit_activation",
    "fit_inverse_sqrt",
]
