"""Loads a user's model together with inputs that show its shapes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.capture.text import tokenizer
from cipherformer.errors import DataError, ModelError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can be captured.

    Args:
        module: in evaluation mode.
        example_inputs: tensors of the shapes it takes, with a leading batch axis of size 1.
        name: for messages and plans.
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    name: str


def from_value(value: Any, *, name: str, shape: tuple[int, ...] | None) -> Loaded:
    """Makes sense of what a user's factory returned.

    Args:
        value: a module, or the pair (module, example inputs), inputs being a tensor or a sequence of tensors.
            A module may carry `example_inputs` as an attribute.
        name: for messages.
        shape: of the input if the factory gave none, batch axis included.

    Raises:
        ModelError: if it is something else, or the shape of the input is unknown.
    """
    inputs: Any = None
    if isinstance(value, tuple) and len(value) == 2:
        value, inputs = value
    if not isinstance(value, nn.Module):
        raise ModelError(
            "the factory did not return a torch module",
            where=name,
            why=f"it returned a {type(value).__name__}",
        )
    if inputs is None:
        inputs = torch.zeros(shape) if shape else getattr(value, "example_inputs", None)
    if inputs is None:
        raise ModelError(
            "the shape of the model's input is unknown",
            where=name,
            fix="let the factory return (module, example_input), or give --shape, e.g. --shape 1,1,28,28",
        )
    tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise ModelError("the example inputs are not tensors", where=name)
    return Loaded(value.eval(), tensors, name)


def from_folder(folder: Path, *, tokens: int) -> Loaded:
    """Loads a model saved by Hugging Face transformers. Nothing is downloaded, and no code in the folder is
    run.

    A text model takes embedded tokens: the client looks the tokens up in the public embedding table itself.
    With a `config.json` but no weights the model is made with random weights, which is enough for `check`.

    Args:
        folder: with `config.json` and weights.
        tokens: length of the sequence for text models.

    Raises:
        ModelError: if the folder holds no model that can be loaded.
    """
    where = str(folder)
    try:
        import transformers
    except ImportError as error:
        fix = "pip install 'cipherformer[torch]'"
        raise ModelError("transformers is not installed", where=where, why=str(error), fix=fix) from error
    try:
        names = json.loads((folder / "config.json").read_text()).get("architectures") or ["AutoModel"]
        cls = getattr(transformers, names[0])
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        config._attn_implementation = "eager"
        config.use_cache = False  # a key-value cache starts empty, which no graph can hold
        weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
        if weights:
            module = cls.from_pretrained(folder, config=config, local_files_only=True)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same random weights each time
                module = (cls.from_config if names[0] == "AutoModel" else cls)(config)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            "cannot load a model from this folder",
            where=where,
            why=str(error).split("\n")[0],
            fix="give a folder written by model.save_pretrained(folder)",
        ) from error
    return wrapped(module.eval(), folder.name, tokens=tokens)


def wrapped(module: nn.Module, name: str, *, tokens: int) -> Loaded:
    """A transformers model as a function of images, or of embedded tokens, that returns one tensor.

    An encoder-decoder takes two: the source's embedded tokens and the target's, of the same length. A model
    of two towers (CLIP) takes an image and embedded tokens, and returns their likeness.

    Raises:
        ModelError: a model of something else.
    """
    config: Any = module.config
    if module.main_input_name == "pixel_values":
        return Loaded(_Tensors(module, "pixel_values"), (_image(config),), name)
    if _towers(module):
        words = torch.zeros(1, tokens, int(config.text_config.hidden_size))
        return Loaded(_Tokens(module, tokens), (_image(config.vision_config), words), name)
    if module.main_input_name != "input_ids":
        raise ModelError(
            f"a model of {module.main_input_name}", where=name, why="only images and text are supported"
        )
    width = int(module.get_input_embeddings().embedding_dim)  # type: ignore[operator]
    text = torch.zeros(1, tokens, width)
    if config.is_encoder_decoder:
        return Loaded(_Tensors(module, "inputs_embeds", "decoder_inputs_embeds"), (text, text), name)
    if "inputs_embeds" in inspect.signature(module.forward).parameters:
        return Loaded(_Tensors(module, "inputs_embeds", "attention_mask"), (text,), name)
    return Loaded(_Tokens(module, tokens), (text,), name)


def _towers(module: nn.Module) -> bool:
    return hasattr(module, "text_model") and hasattr(module, "vision_model")


def _image(config: Any) -> Tensor:
    size = config.image_size
    height, width = size if isinstance(size, Sequence) else (size, size)
    return torch.zeros(1, config.num_channels, height, width)


_RESULTS = ("logits_per_image", "logits", "text_embeds", "image_embeds", "last_hidden_state")


class _Tensors(nn.Module):
    """A transformers model as a function of tensors that returns one tensor; the last may be left out."""

    def __init__(self, model: nn.Module, *arguments: str) -> None:
        super().__init__()
        self.model, self._arguments = model, arguments

    def forward(self, *values: Tensor) -> Tensor:
        return self._result(**dict(zip(self._arguments[: len(values)], values, strict=True)))

    def _result(self, **arguments: Tensor) -> Tensor:
        out = self.model(**arguments, return_dict=True)
        found: Tensor = out[next(name for name in _RESULTS if name in out)]
        return found


class _Tokens(_Tensors):
    """A text model that takes no embeddings: what its table returns is exchanged for the last argument.

    A model of two towers takes an image first. The tokens that it then sees are public and only say where the
    text ends: at the last position.
    """

    def __init__(self, model: nn.Module, tokens: int) -> None:
        super().__init__(model)
        text: Any = model.text_model if _towers(model) else model
        self._table = [text.get_input_embeddings()]  # a list: it is registered where it stands
        ids = torch.zeros(1, tokens, dtype=torch.long)
        ids[0, -1] = text.config.eos_token_id
        self._ids: Tensor
        self.register_buffer("_ids", ids)

    def forward(self, *values: Tensor) -> Tensor:
        *images, text = values
        handle = self._table[0].register_forward_hook(lambda *_: text)
        try:
            return self._result(input_ids=self._ids, **dict(zip(("pixel_values",), images, strict=False)))
        finally:
            handle.remove()


def embedded(loaded: Loaded, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows of a text model's public embedding table, as its client looks them up: [n, L] -> [n, L, width].

    Raises:
        DataError: a token outside the vocabulary, or a model that does not take tokens.
    """
    model = loaded.module.model if isinstance(loaded.module, _Tensors) else None
    if model is None or model.main_input_name != "input_ids":
        raise DataError("tokens for a model that does not take text", where=loaded.name)
    if len(loaded.example_inputs) > 1:
        fix = "give an array of embedded values for each input in a .npz file"
        raise DataError("tokens for a model of several inputs", where=loaded.name, fix=fix)
    table = model.get_input_embeddings().weight
    if tokens.min() < 0 or tokens.max() >= len(table):
        raise DataError(f"a token outside the vocabulary of {len(table)}", where=loaded.name)
    with torch.no_grad():
        return model.get_input_embeddings()(torch.from_numpy(tokens)).double().numpy()


def tokenized(folder: Path, text: str, *, length: int, count: int) -> NDArray[np.int64]:
    """At most `count` windows of `length` + 1 consecutive tokens of a text, by a model folder's tokenizer.

    Raises:
        ModelError: the folder has no tokenizer.
        DataError: the text is shorter than one window.
    """
    found = tokenizer(folder)(text, add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.array(found, dtype=np.int64)
    windows = min(count, len(tokens) // (length + 1))
    if not windows:
        raise DataError(
            f"a text of {len(tokens)} tokens",
            why=f"a window has {length + 1}",
            fix="give more, or fewer --tokens",
        )
    return tokens[: windows * (length + 1)].reshape(windows, length + 1)
