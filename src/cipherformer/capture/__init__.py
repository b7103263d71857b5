"""Importing models: the only user of `torch.export`."""

from cipherformer.capture.arrays import capture_arrays
from cipherformer.capture.export import capture, check
from cipherformer.capture.obstacle import Obstacle

__all__ = ["Obstacle", "capture", "capture_arrays", "check"]
