"""A stock network for 8x8 digits, for the command line: `cipherformer check examples.digits_mlp:model`.

Run as a script it writes 200 of the images to `digits.npy`, for calibration and questions.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F  # noqa: N812


def model() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A trained network (a second on one core) and an example input."""
    digits = load_digits()
    images = torch.tensor(digits.data / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(200):
        loss = F.cross_entropy(net(images[:1400]), labels[:1400])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), (images[:1],)


if __name__ == "__main__":
    np.save("digits.npy", load_digits().data[:200] / 16)
