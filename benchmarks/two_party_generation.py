"""Decoders that continue prompts between two parties, with a shared cache: cost of each token, and agreement.

`python -m benchmarks.two_party_generation [--data FOLDER] [--case CASE ...] [--count N] [--asked M]
[--json FILE]`. `stories260k` and `babyllama105` have published weights and prompts from TinyStories; of N
prompts M are asked between processes, the others are computed by `fixed`, step by step with the cache. `gpt2`
and `llama` are shapes with random weights (`--layers` of them): time and bytes only. The client learns tokens
alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from cipherformer import __version__
from cipherformer.backends import exact
from cipherformer.backends.mpc2.generation import Generator, build_generator
from cipherformer.backends.prepared import Prepared
from cipherformer.capture import capture, pretrained
from cipherformer.graph import Graph
from cipherformer.passes.incremental import CACHE
from cipherformer.report.machine import machine, today
from cipherformer.report.schema import BenchmarkRecord, replace_cases
from cipherformer.report.two_party import Generated
from cipherformer.serve.two_party.local import Generation, run_locally
from examples import llama2c

PROMPT, NEW, CALIBRATED_ON = 16, 8, 24
SILENCE_S = 120.0
REAL = {
    "stories260k": ("stories260k/stories260K.bin", "stories260k/tok512.bin", 0.25),
    "babyllama105": ("babyllama105/model5000.bin", "babyllama105/tok105.model", 0.5),
}
"""Weights, vocabulary, and the margin of calibrated ranges."""
SHAPES = ("gpt2", "llama")
UNITS = {"seconds": "s", "bytes": "B"}


@dataclass(frozen=True)
class Decoder:
    """A captured decoder, texts of PROMPT + NEW - 1 tokens for calibration, and prompts."""

    graph: Graph
    table: NDArray[np.float64]
    typical: NDArray[np.int64]
    prompts: NDArray[np.int64]
    margin: float


def _decoder(model: Any, name: str, texts: NDArray[np.int64], margin: float) -> Decoder:
    model.config.use_cache = False
    loaded = pretrained.wrapped(model.eval(), name, tokens=PROMPT + NEW - 1)
    graph = capture(loaded.module, loaded.example_inputs, name=name)
    table = pretrained.embedded(loaded, np.arange(model.config.vocab_size)[None])[0]
    size = min(CALIBRATED_ON, len(texts) - 1)
    typical, asked = texts[:size], texts[size:]
    return Decoder(graph, table, typical[:, : PROMPT + NEW - 1], asked[:, :PROMPT], margin)


def real(case: str, data: Path, count: int) -> Decoder:
    """Published weights, and stories."""
    weights, vocabulary, margin = REAL[case]
    text = (data / "tinystories_text/tiny_stories.txt").read_text()
    pieces = llama2c.read_vocabulary(data / vocabulary)
    texts = llama2c.windows(text, pieces, PROMPT + NEW, count + CALIBRATED_ON)
    return _decoder(llama2c.load(data / weights), case, texts, margin)


def shape(case: str, layers: int) -> Decoder:
    """GPT-2 small's sizes, or a Llama of 1024 with 16 heads and 4 for keys; random weights and tokens."""
    common: dict[str, Any] = {"attn_implementation": "eager", "use_cache": False}
    torch.manual_seed(0)
    if case == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(n_layer=layers, **common))
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=layers,
                num_attention_heads=16, num_key_value_heads=4, **common,
            )
        )  # fmt: skip
    texts = np.random.default_rng(0).integers(0, model.config.vocab_size, (5, PROMPT + NEW))
    return _decoder(model, case, texts, 0.25)


def emulated(generator: Generator, decoder: Decoder, prompts: NDArray[np.int64]) -> NDArray[np.int64]:
    """What two parties generate, by `fixed`."""
    steps = [Prepared(placement) for placement in generator.placements]
    out = np.zeros((len(prompts), NEW), np.int64)
    for i, prompt in enumerate(prompts):
        given, caches = prompt, []
        for j, step in enumerate(steps):
            inputs = {decoder.graph.inputs[0].name: decoder.table[given][None]}
            inputs |= {f"{CACHE}{k}": cache for k, cache in enumerate(caches)}
            values = step.run(inputs, seed=i).values
            token, *caches = (values[name] for name in step.placement.graph.outputs)
            out[i, j] = round(float(token.item()))
            given = out[i, j : j + 1]
    return out


def plaintext(decoder: Decoder, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row [PROMPT + NEW]: what the float model generates behind each of the tokens before it."""
    name, output = decoder.graph.inputs[0].name, decoder.graph.outputs[0]
    scores = (exact.run(decoder.graph, {name: decoder.table[row[:-1]][None]})[output][0] for row in tokens)
    return np.stack([found[-NEW:].argmax(axis=-1) for found in scores])


def metrics(decoder: Decoder, asked: int) -> dict[str, float]:
    """Agreement over all prompts, cost over those asked between processes."""
    generator = build_generator(
        decoder.graph, decoder.table, decoder.typical, prompt=PROMPT, argmax=True, margin=decoder.margin
    )
    asked = min(asked, len(decoder.prompts))
    generation = Generation(NEW, decoder.table)
    with tempfile.TemporaryDirectory() as folder:
        run = run_locally(
            generator.chain, {"tokens": decoder.prompts[:asked]}, Path(folder), silence_s=SILENCE_S,
            generation=generation,
        )  # fmt: skip
    tokens = run.outputs[0].astype(np.int64)
    tokens = np.concatenate([tokens, emulated(generator, decoder, decoder.prompts[asked:])])
    wanted = plaintext(decoder, np.concatenate([decoder.prompts, tokens], axis=1))
    record = Generated(tokens[:asked], wanted[:asked], generator.chain.programs, run.reports).record()
    out = {
        "prompts": float(len(tokens)),
        "prompts_two_party": float(asked),
        "tokens_of_a_prompt": float(NEW),
        "identical_prompts": float(np.mean(np.all(tokens == wanted, axis=1))),
        "setup_seconds": record["setup_seconds"],
        "setup_bytes": record["setup_bytes"],
    }
    for label, steps in (("prompt", record["steps"][:1]), ("token", record["steps"][1:])):
        out |= {f"{label}_{name}": float(np.mean([step[name] for step in steps])) for name in steps[0]}
    return out


def records(
    cases: list[str], data: Path | None, count: int, asked: int, layers: int
) -> Iterator[BenchmarkRecord]:
    """Everything measured, case by case."""
    for case in cases:
        if case in REAL and data is None:
            raise SystemExit(f"{case} needs --data")
        decoder = real(case, data, count) if case in REAL and data else shape(case, layers)
        parameters: dict[str, Any] = {"prompt": PROMPT, "margin": decoder.margin, "processes": 3}
        parameters |= {"weights": "published"} if case in REAL else {"weights": "random", "layers": layers}
        for metric, value in metrics(decoder, asked).items():
            unit = next((unit for word, unit in UNITS.items() if word in metric), "1")
            yield BenchmarkRecord(
                suite="two_party_generation", case=case, subject="cipherformer", version=__version__,
                metric=metric, value=value, unit=unit, threads=1, parameters=parameters, machine=machine(),
                date=today(),
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of weights and data")
    parser.add_argument("--case", action="append", choices=[*REAL, *SHAPES], help="default: all")
    parser.add_argument("--count", type=int, default=200, help="prompts of a case with published weights")
    parser.add_argument("--asked", type=int, default=200, help="of them between two parties, the first ones")
    parser.add_argument("--layers", type=int, default=12, help="of the shapes")
    parser.add_argument("--json", type=Path, help="write the records to a file; other cases there stay")
    options = parser.parse_args()
    found = []
    cases = options.case or [*REAL, *SHAPES]
    for record in records(cases, options.data, options.count, options.asked, options.layers):
        print(f"{record.case:14} {record.metric:28} {record.value:14.6g} {record.unit}", flush=True)
        found.append(record)
    if options.json:
        replace_cases(options.json, found)


if __name__ == "__main__":
    main()
