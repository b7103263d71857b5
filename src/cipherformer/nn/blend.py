"""A gradual transition from one module to another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Blend(nn.Module):
    """`share replacement(x) + (1 - share) original(x)`: a smooth transition, `share` moved from 0 to 1.

    The replacement is called at every share, so that its inputs can be observed, and narrowed by losses,
    before its turn. Source: Baruch et al., arXiv 2304.14836, section 3 (smooth transition).
    `train.freeze_polynomials` leaves the replacement.

    Args:
        original: takes the same arguments as the replacement.
        replacement: returns a tensor, or a tuple that starts with one, as the original does.
    """

    def __init__(self, original: nn.Module, replacement: nn.Module) -> None:
        super().__init__()
        self.original, self.replacement = original, replacement
        self.share = 0.0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the two modules are called."""
        new = self.replacement(*args, **kwargs)
        if self.share >= 1.0:
            return new
        old = self.original(*args, **kwargs)
        if self.share <= 0.0:
            return old
        if isinstance(new, tuple):
            return (self._mixed(new[0], old[0]), *new[1:])
        return self._mixed(new, old)

    def _mixed(self, new: Tensor, old: Tensor) -> Tensor:
        return self.share * new + (1.0 - self.share) * old

    def get_extra_state(self) -> Tensor:
        """The share, float64 []."""
        return torch.tensor(self.share, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the share."""
        self.share = float(state)
