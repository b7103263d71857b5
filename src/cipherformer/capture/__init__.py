"""Importing models: the only user of `torch.export`."""

from cipherformer.capture.export import capture, check
from cipherformer.capture.obstacle import Obstacle

__all__ = ["Obstacle", "capture", "check"]
