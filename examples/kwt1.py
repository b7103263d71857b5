"""Keyword Transformer KWT-1: a spoken command to one of 12 labels, on features that the client makes.

Twelve post-norm layers of width 64 with one head over 98 frames and a class token (Berg et al., arXiv
2104.00769). `load` reads named arrays from a safetensors file, `features` is the audio front end: windows of
30 ms every 10 ms, magnitudes of a Fourier transform, mel filters, logarithm, cosine transform.
"""

from __future__ import annotations

import io
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

FRAMES, COEFFICIENTS, WIDTH, LAYERS, LABELS = 98, 40, 64, 12, 12
RATE, WINDOW, STEP = 16000, 480, 160

Floats = NDArray[np.float32]


class Layer(nn.Module):
    """Attention of one head, then an MLP, each followed by a sum and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.o = nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.ln1, self.ln2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 99, 64] -> [B, 99, 64]."""
        scores = self.q(x) @ self.k(x).mT / WIDTH**0.5
        x = self.ln1(x + self.o(scores.softmax(-1) @ self.v(x)))
        hidden = nn.functional.gelu(self.fc1(x), approximate="tanh")
        normal: Tensor = self.ln2(x + self.fc2(hidden))
        return normal


class KeywordTransformer(nn.Module):
    """Features [B, 98, 40] -> scores of the labels [B, 12]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(COEFFICIENTS, WIDTH)
        self.cls = nn.Parameter(torch.zeros(WIDTH))
        self.pos = nn.Parameter(torch.zeros(FRAMES + 1, WIDTH))
        self.layer = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, LABELS)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        first = self.cls.expand(x.shape[0], 1, WIDTH)
        x = torch.cat([first, self.embed(x)], dim=1) + self.pos
        for layer in self.layer:
            x = layer(x)
        scores: Tensor = self.head(x[:, 0])
        return scores


def load(path: Path) -> tuple[KeywordTransformer, dict[str, Floats]]:
    """The model, and the arrays of its front end."""
    arrays = load_file(path)
    front = {n.removeprefix("frontend."): a for n, a in arrays.items() if n.startswith("frontend.")}
    state = {n.replace(".attn.", "."): torch.tensor(a) for n, a in arrays.items() if "frontend." not in n}
    model = KeywordTransformer()
    model.load_state_dict(state)
    return model.eval(), front


def features(front: dict[str, Floats], sound: Floats) -> Floats:
    """Sound [16000] in [-1, 1) -> features [98, 40]."""
    frames = np.stack([sound[i * STEP : i * STEP + WINDOW] for i in range(FRAMES)]) * front["window"]
    magnitudes = np.hypot(frames @ front["dft_a"].T, frames @ front["dft_b"].T)
    energies = np.log(np.maximum(magnitudes @ front["mel"].T, front["log_floor"]))
    scaled: Floats = (energies @ front["dct"].T - front["shift"]) * front["scale"]
    return scaled


def clips(path: Path, labels: list[str]) -> Iterator[tuple[Floats, int]]:
    """Sounds of one second and their labels, from a zip of WAV files in a folder a label, labels in turn."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith(".wav") and n.split("/")[0] in labels]
        folders: dict[str, list[str]] = {}
        for name in sorted(names):
            folders.setdefault(name.split("/")[0], []).append(name)
        for row in zip(*folders.values(), strict=False):
            for name in row:
                with wave.open(io.BytesIO(archive.read(name))) as file:
                    raw = np.frombuffer(file.readframes(RATE), np.int16)
                sound = np.zeros(RATE, np.float32)
                sound[: len(raw)] = raw / 32768.0
                yield sound, labels.index(name.split("/")[0])
