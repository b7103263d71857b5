"""Models with published weights and real data, ready to emulate: `CASES` by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cipherformer.capture import capture, pretrained
from cipherformer.graph import Graph
from examples import kwt1, llama2c, resnet_cifar, sentences

Sample = dict[str, NDArray[Any]]
CALIBRATED_ON = 24
"""Inputs that ranges are taken from; they are not scored."""


@dataclass(frozen=True)
class Case:
    """A captured model and its data.

    Args:
        graph: the last output is scored.
        calibration: inputs for ranges.
        samples: other inputs, to be scored.
        labels: the right entry of the last axis: [n], or [n, L] for the next tokens of texts.
        parameters: what the data are.
    """

    graph: Graph
    calibration: list[Sample]
    samples: list[Sample]
    labels: NDArray[np.int64]
    parameters: Mapping[str, Any]


def _case(model: torch.nn.Module, drawn: list[tuple[Any, Any]], name: str, **parameters: Any) -> Case:
    """A case from pairs of (input with a batch axis of 1, label)."""
    first = torch.as_tensor(np.asarray(drawn[0][0])).float()
    graph = capture(model, (first,), name=name)
    (key,) = (node.name for node in graph.inputs)
    samples = [{key: np.asarray(x, dtype=np.float64)} for x, _ in drawn]
    labels = np.array([label for _, label in drawn])[CALIBRATED_ON:]
    return Case(graph, samples[:CALIBRATED_ON], samples[CALIBRATED_ON:], labels, parameters)


def keyword(data: Path, count: int) -> Case:
    """KWT-1 on clips of Speech Commands v2, labels in turn."""
    model, front = kwt1.load(data / "kwt1/kwt1.safetensors")
    labels = (data / "kwt1/labels.txt").read_text().split()
    archive = data / "speech_commands_v2_test/speech_commands_v2_test_1100.zip"
    sounds = islice(kwt1.clips(archive, labels), count + CALIBRATED_ON)
    drawn = [(kwt1.features(front, sound)[None], label) for sound, label in sounds]
    return _case(model, drawn, "kwt1", data="Speech Commands v2 test")


def image(data: Path, count: int) -> Case:
    """ResNet-20 on CIFAR-10's test images, classes in turn."""
    model = resnet_cifar.load(data / "resnet_cifar10/resnet20-12fca82f.th")
    drawn = islice(resnet_cifar.images(data / "cifar10/cifar10_test_png.zip"), count + CALIBRATED_ON)
    return _case(model, [(x[None], label) for x, label in drawn], "resnet20", data="CIFAR-10 test")


def sentiment(data: Path, count: int, *, length: int = 17) -> Case:
    """all-MiniLM-L6-v2 and a linear head on sentences of SST-2, all of `length` tokens.

    The head is fitted in float to embeddings of the first 3,000 training sentences; the others and those of
    the dev and test sets are scored.
    """
    from transformers import AutoModel, AutoTokenizer

    logging.getLogger("transformers").setLevel(logging.ERROR)
    folder = sentences.model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    parts = {}
    for part in ("train", "dev", "test"):
        texts, labels = sentences.read_rows(data / f"sst2/{part}.tsv")
        parts[part] = tokenizer(texts)["input_ids"], labels
    texts, labels = parts["train"]
    head = sentences.fit_head(sentences.embed(encoder, texts[:3000]), labels[:3000])
    parts["train"] = texts[3000:], labels[3000:]
    table = encoder.get_input_embeddings()
    drawn = []
    for tokens, label in (pair for p in ("dev", "test", "train") for pair in zip(*parts[p], strict=True)):
        if len(tokens) == length and len(drawn) < count + CALIBRATED_ON:
            with torch.no_grad():
                drawn.append((table(torch.tensor([tokens])).numpy(), int(label)))
    model = sentences.Sentiment(encoder, head).eval()
    return _case(model, drawn, "minilm", data=f"SST-2, {length} tokens each")


def _text(weights: Path, vocabulary: Path, data: Path, count: int, length: int, name: str) -> Case:
    loaded = pretrained.wrapped(llama2c.load(weights), name, tokens=length)
    text = (data / "tinystories_text/tiny_stories.txt").read_text()
    pieces = llama2c.read_vocabulary(vocabulary)
    tokens = llama2c.windows(text, pieces, length, count + CALIBRATED_ON)
    embedded = pretrained.embedded(loaded, tokens[:, :-1])
    drawn = [(x[None], t[1:]) for x, t in zip(embedded, tokens, strict=True)]
    return _case(loaded.module, drawn, name, data=f"TinyStories, windows of {length} tokens")


def stories(data: Path, count: int) -> Case:
    """stories260K, tokens of a vocabulary of 512."""
    folder = data / "stories260k"
    return _text(folder / "stories260K.bin", folder / "tok512.bin", data, count, 64, "stories260k")


def characters(data: Path, count: int) -> Case:
    """BabyLlama-105, characters."""
    folder = data / "babyllama105"
    return _text(folder / "model5000.bin", folder / "tok105.model", data, count, 64, "babyllama105")


CASES: Mapping[str, Callable[[Path, int], Case]] = MappingProxyType(
    {
        "kwt1": keyword,
        "minilm": sentiment,
        "stories260k": stories,
        "babyllama105": characters,
        "resnet20": image,
    }
)
"""Case by name: a function of the data folder and the number of inputs."""
