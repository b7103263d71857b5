"""A language model block by block: each block is made, captured and forgotten before the next.

One block is in memory at a time. Its weights come from the folder's safetensors, read through a memory map,
or from a seed where the folder holds none. What a block is called with besides the activations (masks,
positions) is learned from a model of one block with the same configuration.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.capture.export import capture
from cipherformer.errors import DataError, ModelError
from cipherformer.graph import Graph

_PATHS = ("layers", "h")
_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
_HEADS = ("lm_head", "embed_out")
_FEW_WORDS = 8
_PART = 1 << 27
"""Weights in one part of a head."""


Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Of a block, besides the activations."""


class Weights:
    """Tensors of a folder by name, or random ones from a seed."""

    def __init__(self, folder: Path | None, seed: int) -> None:
        self._files: dict[str, Any] = {}
        self._seed = seed
        if folder is not None:
            from safetensors import safe_open

            for file in sorted(folder.glob("*.safetensors")):
                opened = safe_open(file, framework="pt")
                self._files.update(dict.fromkeys(opened.keys(), opened))

    @property
    def names(self) -> list[str]:
        """Of the tensors in the folder; none if weights are random."""
        return list(self._files)

    def fill(self, module: nn.Module, at: str, spread: float) -> None:
        """Overwrite a module's parameters: by the folder's tensors `at`.NAME, else at random."""
        generator = torch.Generator().manual_seed(hash((self._seed, *map(ord, at))) % 2**63)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if not self._files:
                    if parameter.dim() > 1:
                        parameter.normal_(0.0, spread, generator=generator)
                    continue
                parameter.copy_(self.tensor(f"{at}.{name}" if at else name))

    def tensor(self, name: str, rows: slice | None = None) -> Tensor:
        """A tensor whose name ends so, or some of its rows.

        Raises:
            ModelError: there is none.
        """
        found = next((n for n in self._files if n == name or n.endswith("." + name)), None)
        if found is None:
            raise ModelError(f"the folder has no weights {name}", fix="give a folder of save_pretrained")
        file = self._files[found]
        tensor: Tensor = file.get_tensor(found) if rows is None else file.get_slice(found)[rows]
        return tensor


class _Block(nn.Module):
    """A block as a function of activations alone."""

    def __init__(self, block: nn.Module, arguments: Arguments) -> None:
        super().__init__()
        self.block, (self._args, self._kwargs) = block, arguments

    def forward(self, x: Tensor) -> Tensor:
        out = self.block(x, *self._args, **self._kwargs)
        result: Tensor = out if isinstance(out, Tensor) else out[0]
        return result


class _Head(nn.Module):
    """A part of the head and, where there is one, the cap on logits."""

    def __init__(self, head: nn.Module, cap: float | None) -> None:
        super().__init__()
        self.head, self._cap = head, cap

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return torch.tanh(logits / self._cap) * self._cap if self._cap else logits


@dataclass(slots=True)
class Streamed:
    """A causal language model that is never whole in memory.

    Args:
        config: of Hugging Face transformers.
        weights: of a folder, or random.
        tokens: length of the text.
        name: for messages.
        path: of the list of blocks, found by itself.

    Raises:
        ModelError: the blocks are not where they are looked for.
    """

    config: Any
    weights: Weights
    tokens: int
    name: str
    path: str = ""

    def __post_init__(self) -> None:
        self.path = self.path or self._path

    @property
    def layers(self) -> int:
        """Number of blocks, without the tail."""
        return int(self.config.num_hidden_layers)

    def blocks(self, limit: int | None = None) -> Iterator[Graph | Iterator[Graph]]:
        """Graphs of the blocks, the last norm, and parts of the head; or of the first `limit` blocks."""
        shape = torch.zeros(1, self.tokens, int(self.config.hidden_size))
        made: dict[str, tuple[nn.Module, Arguments]] = {}
        for index in range(self.layers if limit is None else min(limit, self.layers)):
            kind = self._kind(index)
            if kind not in made:
                made.clear()
                made[kind] = self._one_block(index)
            block, arguments = made[kind]
            self.weights.fill(block, f"{self.path}.{index}", self._spread)
            yield capture(_Block(block, arguments), (shape,), name=f"{self.name}.{index}")
        made.clear()
        if limit is None or limit >= self.layers:
            yield capture(self._norm(), (shape,), name=f"{self.name}.norm")
            yield self._heads(shape)

    def start(self, tokens: NDArray[np.int64] | None = None, seed: int = 0) -> NDArray[np.float64]:
        """What goes into the first block: [1, L, width], from token ids [L] or, without, from random rows.

        The client computes it: rows of the public table, scales and positions.
        """
        model = self._small(0)
        if tokens is not None and self.weights.names:
            if tokens.min() < 0 or tokens.max() >= self.config.vocab_size:
                raise DataError(f"a token outside the vocabulary of {self.config.vocab_size}")
            name, table = self._table(model)  # it may scale what it looks up
            self._fill_rest(model, table)
            table.weight = nn.Parameter(self.weights.tensor(name)[torch.from_numpy(tokens)].float())
            with torch.no_grad():
                rows = table(torch.arange(len(tokens))[None])
        else:
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randn(1, self.tokens, int(self.config.hidden_size), generator=generator)
        seen: NDArray[np.float64] = self._observed(model, rows)[0].double().numpy()
        return seen

    # --- parts ---

    @property
    def _path(self) -> str:
        """Where the blocks are."""
        with torch.device("meta"):
            model = self._small(0)
        path = next((p for p in _PATHS if isinstance(getattr(model, p, None), nn.ModuleList)), None)
        if path is None:
            raise ModelError(
                f"a {self.config.model_type} cannot be streamed",
                where=self.name,
                why=f"its blocks are not a list called {' or '.join(_PATHS)}",
                fix="emulate it whole, without --stream",
            )
        return path

    def _fill_rest(self, model: nn.Module, table: nn.Module) -> None:
        """What stands in front of the blocks besides the table: positions, a norm."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith(self.path + ".") and parameter is not table.weight:
                    parameter.copy_(self.weights.tensor(name))

    @staticmethod
    def _table(model: nn.Module) -> tuple[str, nn.Module]:
        """The embedding table and the name of its tensor."""
        table: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
        name = next(n for n, part in model.named_modules() if part is table)
        return f"{name}.weight", table

    @property
    def _spread(self) -> float:
        return float(getattr(self.config, "initializer_range", 0.02))

    def _kind(self, index: int) -> str:
        return str((getattr(self.config, "layer_types", None) or [""] * self.layers)[index])

    def _small(self, index: int) -> nn.Module:
        """The model without head, with one block and hardly any vocabulary."""
        from transformers import AutoModel

        config = copy.deepcopy(self.config)
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[index]]
        config.num_hidden_layers, config.vocab_size = 1, _FEW_WORDS
        config.pad_token_id, config.use_cache = None, False
        config._attn_implementation = "eager"
        return AutoModel.from_config(config).eval()

    def _observed(self, model: nn.Module, rows: Tensor) -> tuple[Tensor, Arguments]:
        """The first block's activations and its other arguments, when the model sees these rows."""
        seen: list[tuple[Tensor, Arguments]] = []

        def record(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            seen.append((hidden, (args[1:], {k: v for k, v in kwargs.items() if k != "hidden_states"})))

        block = getattr(model, self.path)[0]
        handle = block.register_forward_pre_hook(record, with_kwargs=True)
        with torch.no_grad():
            model(inputs_embeds=rows)
        handle.remove()
        return seen[0]

    def _one_block(self, index: int) -> tuple[nn.Module, Arguments]:
        model = self._small(index)
        rows = torch.zeros(1, self.tokens, int(self.config.hidden_size))
        return getattr(model, self.path)[0], self._observed(model, rows)[1]

    def _norm(self) -> nn.Module:
        model = self._small(0)
        name = next((n for n in _NORMS if hasattr(model, n)), None)
        if name is None:
            raise ModelError("a model without a known last norm", where=self.name, fix="emulate it whole")
        norm: nn.Module = getattr(model, name)
        self.weights.fill(norm, name, self._spread)
        return norm

    def _heads(self, shape: Tensor) -> Iterator[Graph]:
        """The head in parts of its rows."""
        width, words = int(self.config.hidden_size), int(self.config.vocab_size)
        cap = getattr(self.config, "final_logit_softcapping", None)
        names = self.weights.names
        own = next((h for h in _HEADS if any(n.endswith(f"{h}.weight") for n in names)), None)
        name = f"{own}.weight" if own else self._table(self._small(0))[0]  # tied to the table
        step = max(1, _PART // width)
        for index, first in enumerate(range(0, words, step)):
            part = nn.Linear(width, min(step, words - first), bias=False)
            if names:
                rows = self.weights.tensor(name, slice(first, first + step)).float()
                part.weight = nn.Parameter(rows, requires_grad=False)
            else:
                self.weights.fill(part, f"lm_head.{index}", self._spread)
            yield capture(_Head(part, cap).eval(), (shape,), name=f"{self.name}.head.{index}")


def streamed(folder: Path, *, tokens: int, seed: int = 0) -> Streamed:
    """A folder's model, to be read block by block.

    Args:
        folder: with `config.json`, and safetensors unless weights are to be random.
        tokens: length of the text.
        seed: of random weights.

    Raises:
        ModelError: no configuration, or a model whose blocks are not where they are looked for.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            "cannot read a model's configuration", where=str(folder), why=str(error).split("\n")[0]
        ) from error
    found = folder if any(folder.glob("*.safetensors")) else None
    return from_config(config, folder.name, tokens=tokens, weights=Weights(found, seed))


def from_config(config: Any, name: str, *, tokens: int, weights: Weights | None = None) -> Streamed:
    """A configuration's model with random weights, or those given.

    Raises:
        ModelError: a model whose blocks are not where they are looked for.
    """
    return Streamed(config, weights or Weights(None, 0), tokens, name)
