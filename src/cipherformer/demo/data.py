"""scikit-learn's handwritten digits, split once and for all by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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
