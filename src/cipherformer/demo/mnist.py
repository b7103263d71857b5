"""Two published MNIST models as stock torch modules, and the MNIST test images, from a folder of the user's.

The folder holds `mnist_test/t10k-*-ubyte.gz`, `vit_mnist_11k/mnist_vit.pth` and `heir_mnist/lenet_traced.pt`.
"""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.demo.data import Split
from cipherformer.errors import DataError, FormatError

MEAN, DEVIATION = 0.1307, 0.3081
FINE_TUNED_ON = 8000
"""The first images of the test set fine-tune, as the training set is not in the folder; the rest score."""


class TinyViT(nn.Module):
    """Post-norm vision transformer of one layer: 16 patches of 7x7, width 32, one head, FFN 64, mean pool.

    [B, 1, 28, 28], normalised by `MEAN` and `DEVIATION` -> logits [B, 10].
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Linear(49, 32)})
        self.pos_embed = nn.Parameter(torch.zeros(1, 16, 32))
        self.encoder = nn.ModuleList([_EncoderLayer(32, 64)])
        self.norm = nn.LayerNorm(32)
        self.classifier = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, 28, 28] -> [B, 10]."""
        patches = images.reshape(-1, 4, 7, 4, 7).transpose(2, 3).reshape(-1, 16, 49)
        x = self.patch_embed["proj"](patches) + self.pos_embed
        for layer in self.encoder:
            x = layer(x)
        return self.classifier(self.norm(x).mean(dim=1))


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 1, batch_first=True)
        self.ffn = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})
        self.activation = nn.GELU()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.ffn["fc2"](self.activation(self.ffn["fc1"](x))))


class LeNet(nn.Module):
    """LeNet-5 with ReLU and average pooling: [B, 1, 28, 28], normalised -> logits [B, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, 28, 28] -> [B, 10]."""
        return self.classifier(self.feature_extractor(images).flatten(1))


def available(data_root: Path) -> bool:
    """Whether the folder has everything that this module reads."""
    names = ("vit_mnist_11k/mnist_vit.pth", "heir_mnist/lenet_traced.pt", *_IDX)
    return all((data_root / name).is_file() for name in names)


_IDX = ("mnist_test/t10k-images-idx3-ubyte.gz", "mnist_test/t10k-labels-idx1-ubyte.gz")


def load_mnist(data_root: Path) -> Split:
    """The MNIST test images [n, 1, 28, 28], normalised: the first `FINE_TUNED_ON` to train, the rest to test.

    Raises:
        DataError: a file that is missing.
        FormatError: a file that is not in the IDX format.
    """
    pixels = _idx(data_root / _IDX[0], 3)
    labels = torch.tensor(_idx(data_root / _IDX[1], 1), dtype=torch.int64)
    images = ((torch.tensor(pixels, dtype=torch.float32) / 255.0 - MEAN) / DEVIATION)[:, None]
    k = FINE_TUNED_ON
    return Split(images[:k], labels[:k], images[k:], labels[k:])


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes: magic number 0x0000 08 dd, dd sizes of 4 bytes (big-endian), then the data."""
    try:
        data = gzip.decompress(_existing(path).read_bytes())
    except (OSError, EOFError) as error:
        raise FormatError("not a gzip file", where=str(path), why=str(error)) from error
    head = 4 + 4 * dimensions
    if len(data) < head or data[:4] != bytes([0, 0, 8, dimensions]):
        raise FormatError(f"not an IDX file of bytes in {dimensions} dimensions", where=str(path))
    shape = tuple(int(n) for n in np.frombuffer(data[4:head], dtype=">u4"))
    if len(data) - head != np.prod(shape):
        raise FormatError(f"the file does not hold {shape} bytes", where=str(path))
    return np.frombuffer(data[head:], dtype=np.uint8).reshape(shape).copy()


def load_vit(data_root: Path) -> TinyViT:
    """The published weights, in evaluation mode: 83.97% of the 10,000 test images."""
    path = _existing(data_root / "vit_mnist_11k" / "mnist_vit.pth")
    model = TinyViT()
    try:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except (RuntimeError, TypeError, UnpicklingError) as error:
        raise FormatError("not the weights of this model", where=str(path), why=str(error)) from error
    return model.eval()


def load_lenet(data_root: Path) -> LeNet:
    """The published weights, in evaluation mode: 98.16% of the 10,000 test images."""
    path = _existing(data_root / "heir_mnist" / "lenet_traced.pt")
    model = LeNet()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is; the published file is one
            saved = torch.jit.load(str(path), map_location="cpu").state_dict()
        model.load_state_dict({name: saved[name] for name in model.state_dict()})  # layers are listed twice
    except (RuntimeError, KeyError) as error:
        raise FormatError("not the weights of this model", where=str(path), why=str(error)) from error
    return model.eval()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(
            "the file is missing", where=str(path), fix="pass the folder that holds the MNIST models"
        )
    return path
