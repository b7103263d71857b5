"""Three tiny models with weights that need no random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.capture import capture
from cipherformer.graph import Graph


class Perceptron(nn.Sequential):
    """Linear, GELU, linear."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))


class Convolution(nn.Sequential):
    """Convolution, batch normalisation, ReLU, pooling, linear."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.BatchNorm2d(2),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        )


class Attention(nn.Module):
    """One head pair of PowerSoftmax attention with a residual, on normalised tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[1, 3, 4] -> [1, 4]."""
        normed = self.norm(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = self.qkv(normed).reshape(1, 3, 3, 2, 2).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * 0.5
        weights = torch.ops.cipherformer.power_softmax(scores, None, 4, 0.5)
        mixed = (weights @ v).transpose(1, 2).reshape(1, 3, 4)
        return (x + self.out(mixed)).mean(1)


SHAPES: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron": (Perceptron, (1, 4)),
    "convolution": (Convolution, (1, 1, 4, 4)),
    "attention": (Attention, (1, 3, 4)),
}


def wave(shape: tuple[int, ...], phase: float = 0.0) -> NDArray[np.float64]:
    """Values in [-1, 1] that are the same on every machine."""
    steps = np.arange(int(np.prod(shape)), dtype=np.float64)
    return (((steps * 0.37 + phase) % 2.0) - 1.0).round(3).reshape(shape)


def captured(name: str) -> Graph:
    """The graph of a tiny model."""
    import cipherformer.nn  # noqa: F401 - registers the custom ops

    make, shape = SHAPES[name]
    module = make().double().eval()
    with torch.no_grad():
        for i, tensor in enumerate((*module.parameters(), *module.buffers())):
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(wave(tuple(tensor.shape), 0.1 * i)) * 0.5)
        for module_name, buffer in module.named_buffers():
            if module_name.endswith("running_var"):
                buffer.copy_(buffer.abs() + 0.5)
    return capture(module, (torch.from_numpy(wave(shape)),), name=name)


def samples(name: str) -> list[dict[str, NDArray[np.float64]]]:
    """Calibration inputs."""
    shape = SHAPES[name][1]
    (node,) = captured(name).inputs
    return [{node.name: wave(shape, 0.05 * i)} for i in range(20)]
