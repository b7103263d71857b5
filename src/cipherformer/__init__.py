"""Private inference of transformers: from a PyTorch model to encrypted answers."""

__version__ = "0.1.0"
