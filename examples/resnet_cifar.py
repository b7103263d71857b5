"""ResNet-20 for CIFAR-10 with shortcuts of option A: subsampled and padded with zero channels.

He et al., arXiv 1512.03385, section 4.2. `load` reads a checkpoint whose state dictionary may carry the
prefix `module.`; `images` reads PNG files from a zip, a folder a class.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions round which the input is carried."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.grows = channels - channels_in
        stride = 2 if self.grows else 1
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same, or twice the channels on half the grid."""
        carried = x
        if self.grows:
            half = self.grows // 2
            carried = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        hidden = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(hidden)) + carried).relu()


class ResNet(nn.Module):
    """Images [B, 3, 32, 32], normalised -> logits [B, 10]."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        widths = [16, 16, 32, 64]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                *(Block(widths[i] if b == 0 else widths[i + 1], widths[i + 1]) for b in range(blocks))
            )
            for i in range(3)
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def load(path: Path, blocks: int = 3) -> ResNet:
    """The model of a checkpoint."""
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    model = ResNet(blocks)
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return model.eval()


def images(path: Path) -> Iterator[tuple[Tensor, int]]:
    """Normalised images [3, 32, 32] and their classes, classes in turn."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".png"))
        folders = [[n for n in names if f"/{c}/" in f"/{n}"] for c in CLASSES]
        for row in zip(*folders, strict=True):
            for label, name in enumerate(row):
                pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"), np.float32)
                scaled = (pixels / 255.0 - np.float32(MEAN)) / np.float32(DEVIATION)
                yield torch.from_numpy(scaled.transpose(2, 0, 1).copy()), label
