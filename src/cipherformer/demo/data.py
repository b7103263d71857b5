"""scikit-learn's handwritten digits, split once and for all by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

TEST_SIZE = 450


@dataclass(frozen=True, slots=True)
class Split:
    """Images [n, 1, 8, 8] in [0, 1] (float32) and labels [n] (int64), for training and held out."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits_split(seed: int = 0) -> Split:
    """The 1,797 images of `sklearn.datasets.load_digits` (pixels / 16): 1,347 to train, 450 held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = torch.tensor(digits.images[order] / 16.0, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target[order], dtype=torch.int64)
    kept = len(order) - TEST_SIZE
    return Split(images[:kept], labels[:kept], images[kept:], labels[kept:])


def warp(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment images [n, 1, H, W]: a small random affine map each, but three in ten stay as they are."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2.0 - 1.0) * limit

    angle, shear = uniform(0.15), uniform(0.15)
    first = torch.stack([(1.0 + uniform(0.1)) * angle.cos(), shear - angle.sin(), uniform(0.1)], dim=1)
    second = torch.stack([angle.sin(), (1.0 + uniform(0.1)) * angle.cos(), uniform(0.1)], dim=1)
    places = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    warped = F.grid_sample(images, places, align_corners=False)
    kept = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.3
    return torch.where(kept, images, warped)
