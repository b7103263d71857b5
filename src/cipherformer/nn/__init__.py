"""Private-form torch modules: differentiable in training, one custom op each under `torch.export`."""

from cipherformer.nn.activation import PolynomialActivation, fit_activation
from cipherformer.nn.attention import MultiheadAdapter, PowerSoftmax, SelfAttention, Softmax, TwoQuad
from cipherformer.nn.norm import BatchNorm

__all__ = [
    "BatchNorm",
    "MultiheadAdapter",
    "PolynomialActivation",
    "PowerSoftmax",
    "SelfAttention",
    "Softmax",
    "TwoQuad",
    "fit_activation",
]
