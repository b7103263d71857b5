"""`two-party --generate`: a text continued in private, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cipherformer.backends import exact
from cipherformer.errors import CipherformerError, DataError
from cipherformer.graph import Graph
from cipherformer.report.two_party import Generated
from cipherformer.serve.two_party.local import Generation, run_locally

if TYPE_CHECKING:
    from cipherformer.backends.mpc2.generation import Generator
    from cipherformer.capture.pretrained import Loaded

RANDOM_TEXTS = 8


@dataclass(frozen=True, slots=True)
class Continuation:
    """Prompts, and the model that continues them.

    Args:
        model: folder, for its tokenizer.
        loaded: the model.
        graph: captured, over the prompt's positions and one less than `count` further ones.
        prompts: ids [n, L].
        count: tokens to generate.
        private: the server keeps its table of embeddings.
    """

    model: str
    loaded: Loaded
    graph: Graph
    prompts: NDArray[np.int64]
    count: int
    private: bool

    def table(self) -> NDArray[np.float64]:
        """Embeddings of all tokens [V, d]."""
        from cipherformer.capture.pretrained import embedded
        from cipherformer.capture.text import vocabulary_size

        rows = embedded(self.loaded, np.arange(vocabulary_size(self.loaded))[None])
        return np.asarray(rows[0])

    def plaintext(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The float model's best token behind each of the last `count` positions but one of tokens [M]."""
        (text,) = self.graph.inputs
        rows = self.table()[tokens[: text.type.shape[1]]][None]
        scores = exact.run(self.graph, {text.name: rows})[self.graph.outputs[0]][0]
        return np.asarray(scores[-self.count :].argmax(axis=-1))

    def typical(self, given: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Texts for calibration: those given, or random ones and what the float model makes of the prompts.

        Raises:
            DataError: those given are too short.
        """
        length = self.graph.inputs[0].type.shape[1]
        if given is not None:
            if given.shape[1] < length:
                raise DataError(f"texts of {given.shape[1]} tokens for calibration, and {length} are needed")
            return given[:, :length]
        drawn = np.random.default_rng(0).integers(0, len(self.table()), size=(RANDOM_TEXTS, length))
        size = self.prompts.shape[1]
        ours = np.zeros((len(self.prompts), length), np.int64)
        ours[:, :size] = self.prompts
        for row in ours:
            for place in range(size, length):
                row[place] = self.plaintext(row)[place - size]
        return np.concatenate([drawn, ours])

    def built(self, given: NDArray[np.int64] | None, argmax: bool, options: Mapping[str, Any]) -> Generator:
        """The chain of programs."""
        from cipherformer.backends.mpc2.generation import build_generator

        return build_generator(
            self.graph,
            self.table(),
            self.typical(given),
            prompt=self.prompts.shape[1],
            argmax=argmax,
            private=self.private,
            **options,
        )

    def run(self, built: Generator, console: Console, work: Path, **options: Any) -> Generated:
        """Three processes, with options of `run_locally`; prints each token as it comes."""
        table = None if self.private else self.table()
        generation = Generation(self.count, table, lambda prompt, token: console.print(self.shown(token)))
        run = run_locally(built.chain, {"tokens": self.prompts}, work, generation=generation, **options)
        tokens = run.outputs[0].astype(np.int64)
        whole = np.concatenate([self.prompts, tokens], axis=1)
        wanted = np.stack([self.plaintext(row) for row in whole])
        return Generated(tokens, wanted, built.chain.programs, run.reports)

    def shown(self, token: int) -> str:
        """A token's id and, with a tokenizer in the folder, its text."""
        from cipherformer.capture.text import text_of

        try:
            return f"{token} {text_of(Path(self.model), token)!r}"
        except CipherformerError:
            return str(token)
