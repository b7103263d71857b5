"""Models with published weights and real data to convert them on, from the folder of real data.

Each is a factory of `cipherformer convert`, which gives it the folder:

    cipherformer convert 'benchmarks.training_data:resnet20(../shared/data)' --recipe default \\
        --data 'benchmarks.training_data:cifar10(../shared/data)' --out out/resnet20
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cipherformer.capture import pretrained
from cipherformer.train.data import Data, Part
from cipherformer.train.evaluate import Choice
from examples import kwt1, llama2c, resnet_cifar

CIFAR_TRAIN = 10_000
"""Training images that are used: enough for a short fine-tuning."""
TOKENS = 64


def resnet20(folder: str) -> tuple[nn.Module, Tensor]:
    """ResNet-20 for CIFAR-10: 91.73% of all test images."""
    return resnet_cifar.load(Path(folder) / "resnet_cifar10/resnet20-12fca82f.th"), torch.zeros(1, 3, 32, 32)


def cifar10(folder: str, count: str = str(CIFAR_TRAIN)) -> Data:
    """The first training images, classes in turn, mirrored and shifted, and all 10,000 test images."""
    parts = []
    for name, most in (("train", int(count)), ("test", None)):
        drawn = list(islice(resnet_cifar.images(Path(folder) / f"cifar10/cifar10_{name}_png.zip"), most))
        parts.append(Part(torch.stack([x for x, _ in drawn]), torch.tensor([y for _, y in drawn])))
    return Data(parts[0], parts[1], augment="crop_flip")


def keyword(folder: str) -> tuple[nn.Module, Tensor]:
    """KWT-1."""
    model, _ = kwt1.load(Path(folder) / "kwt1/kwt1.safetensors")
    return model, torch.zeros(1, kwt1.FRAMES, kwt1.COEFFICIENTS)


def commands(folder: str) -> Data:
    """The clips of Speech Commands v2's test set: every other one to train, the rest to score."""
    root = Path(folder)
    _, front = kwt1.load(root / "kwt1/kwt1.safetensors")
    labels = (root / "kwt1/labels.txt").read_text().split()
    archive = root / "speech_commands_v2_test/speech_commands_v2_test_1100.zip"
    rounds: dict[int, int] = {}
    halves: tuple[list[tuple[np.ndarray, int]], list[tuple[np.ndarray, int]]] = ([], [])
    for sound, label in kwt1.clips(archive, labels):
        rounds[label] = rounds.get(label, -1) + 1
        halves[rounds[label] % 2].append((kwt1.features(front, sound), label))
    parts = [
        Part(torch.from_numpy(np.stack([x for x, _ in half])), torch.tensor([y for _, y in half]))
        for half in halves
    ]
    return Data(parts[0], parts[1])


def stories(folder: str) -> tuple[nn.Module, Tensor]:
    """stories260K on windows of 64 embedded tokens."""
    loaded = pretrained.wrapped(
        llama2c.load(Path(folder) / "stories260k/stories260K.bin"), "stories260k", tokens=TOKENS
    )
    return loaded.module, loaded.example_inputs[0]


def babyllama(folder: str) -> tuple[nn.Module, Tensor]:
    """BabyLlama-105 on windows of 64 embedded characters."""
    loaded = pretrained.wrapped(
        llama2c.load(Path(folder) / "babyllama105/model5000.bin"), "babyllama105", tokens=TOKENS
    )
    return loaded.module, loaded.example_inputs[0]


def tinystories(folder: str) -> Data:
    """The beginnings of 900 stories, the last 180 to score."""
    return _stories(Path(folder), "stories260k/tok512.bin")


def tinystories_characters(folder: str) -> Data:
    """The same in the characters of BabyLlama-105."""
    return _stories(Path(folder), "babyllama105/tok105.model")


def _stories(root: Path, vocabulary: str) -> Data:
    text = (root / "tinystories_text/tiny_stories.txt").read_text()
    pieces = llama2c.read_vocabulary(root / vocabulary)
    tokens = torch.from_numpy(llama2c.windows(text, pieces, TOKENS, 900))
    parts = [Part(t[:, :-1].contiguous(), t[:, 1:].contiguous()) for t in (tokens[:-180], tokens[-180:])]
    return Data(parts[0], parts[1])


def lambada(folder: str, count: int) -> list[Choice]:
    """Passages whose last word is asked for, in the tokens of stories260K."""
    root, found = Path(folder), []
    pieces = llama2c.read_vocabulary(root / "stories260k/tok512.bin")
    for line in (root / "lambada/lambada_test.jsonl").read_text().splitlines()[:count]:
        context, _, word = json.loads(line)["text"].rpartition(" ")
        answer = llama2c.encode(word, pieces)[1:]
        found.append(Choice(torch.tensor(llama2c.encode(context[-600:], pieces)), (torch.tensor(answer),), 0))
    return found


def piqa(folder: str, count: int) -> list[Choice]:
    """Goals with two ways to reach them, in the tokens of stories260K."""
    root, found = Path(folder), []
    pieces = llama2c.read_vocabulary(root / "stories260k/tok512.bin")
    lines = (root / "piqa/valid.jsonl").read_text().splitlines()
    rights = (root / "piqa/valid-labels.lst").read_text().split()
    for line, right in list(zip(lines, rights, strict=True))[:count]:
        row = json.loads(line)
        answers = tuple(torch.tensor(llama2c.encode(row[n], pieces)[1:]) for n in ("sol1", "sol2"))
        found.append(Choice(torch.tensor(llama2c.encode(row["goal"], pieces)), answers, int(right)))
    return found
