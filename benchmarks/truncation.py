"""How far static placement reduces truncations: `python -m benchmarks.truncation [--json FILE]`.

Small random models of published architectures (two layers of width 64, 32 tokens or a 32 x 32 image), and
stories260K and KWT-1 with published weights where `--data` has them. For rings of 64 and 128 bits and 12 to
18 fraction bits: `truncated_elements_POLICY_over_every`. In 64 bits with 16, for some: `rounds`,
`online_bytes_per_party`, `predicted_seconds_lan` and `_wan` of `every`, `hoisted` and `optimal` in the
profiles `additive` and `masked`, there also with narrower rings. Case `exp`: truncations of the limit
exponential in 128 bits with 16.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console

import cipherformer as cf
from benchmarks import real_models
from cipherformer.backends.emulate import Choices, placed, policy_cost
from cipherformer.capture import capture, pretrained
from cipherformer.errors import LimitError
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.ring import RingGraph, approximate_ring, to_ring
from cipherformer.passes.truncate import POLICIES, place
from cipherformer.report import schema
from cipherformer.report.machine import machine, today
from cipherformer.targets.protocols import protocol
from cipherformer.targets.ring import RingTarget

RINGS, FRACTIONS = (64, 128), (12, 14, 16, 18)
TOKENS, VOCABULARY = 32, 100
NARROWER = (32, 48)
_SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 172}
_TEXT = {**_SIZES, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "initializer_range": 0.1}
_GROUPED = {**_TEXT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": 64}
_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 172, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**_GROUPED, "head_dim": 16}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {**_GPT2, "initializer_range": 0.1}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _TEXT),
    "bert": ("BertForSequenceClassification", "BertConfig", _TEXT),
    "t5": ("T5ForConditionalGeneration", "T5Config", {**_T5, "initializer_factor": 1.0}),
    "vit": ("ViTForImageClassification", "ViTConfig", {**_SIZES, "image_size": 32, "patch_size": 8}),
}
REAL = ("stories260k", "kwt1")
COSTED = ("llama", "bert", "stories260k")


def random_model(name: str) -> RingGraph:
    """A model with random weights, in the ring dialect."""
    cls, config_cls, sizes = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, config_cls)(**sizes, attn_implementation="eager", use_cache=False)
    loaded = pretrained.wrapped(getattr(transformers, cls)(config).eval(), name, tokens=TOKENS)
    return in_ring(loaded, np.random.default_rng(0).integers(3, VOCABULARY, size=(2, TOKENS)))


def real_model(name: str, data: Path) -> RingGraph | None:
    """A model with published weights, or None if its files are not there."""
    try:
        case = real_models.CASES[name](data, 1)
    except OSError:
        return None
    return to_ring(case.graph, case.calibration[:2])


def in_ring(loaded: pretrained.Loaded, tokens: np.ndarray) -> RingGraph:
    """Captured and lowered, with ranges from two inputs: embedded tokens; noise for images, and for models
    that read two texts.
    """
    graph = capture(loaded.module, loaded.example_inputs, name=loaded.name)
    rng = np.random.default_rng(1)
    samples: list[dict[str, np.ndarray]] = [{}, {}]
    for node in graph.inputs:
        if len(node.type.shape) == 3 and len(graph.inputs) == 1:
            rows = pretrained.embedded(loaded, tokens)
            for sample, row in zip(samples, rows, strict=True):
                sample[node.name] = np.asarray(row)[None].reshape(node.type.shape)
        else:
            for sample in samples:
                sample[node.name] = rng.normal(size=node.type.shape)
    return to_ring(graph, samples)


@dataclass(frozen=True)
class Suite:
    """Makes records."""

    seconds: float

    def record(
        self, case: str, metric: str, value: float, unit: str, **parameters: Any
    ) -> schema.BenchmarkRecord:
        return schema.BenchmarkRecord(
            suite="truncation",
            case=case,
            subject="cipherformer",
            version=cf.__version__,
            metric=metric,
            value=float(value),
            unit=unit,
            threads=1,
            parameters=parameters,
            machine=machine(),
            date=today(),
        )

    def reductions(self, case: str, ring: RingGraph) -> Iterator[schema.BenchmarkRecord]:
        """Truncated elements of each policy against `every`."""
        for width in RINGS:
            for bits in FRACTIONS:
                target = RingTarget(width, bits, 1)
                try:
                    found = {p: place(ring.graph, target, p, seconds=self.seconds) for p in POLICIES}
                except LimitError:  # the table shows a gap
                    continue
                every = found["every"].truncated_elements
                where = {"ring_bits": width, "frac_bits": bits}
                yield self.record(case, "truncated_elements_every", every, "1", **where)
                for policy in POLICIES[1:]:
                    ratio = found[policy].truncated_elements / every
                    yield self.record(case, f"truncated_elements_{policy}_over_every", ratio, "1", **where)
                solved = found["optimal"].solved
                if solved is not None:
                    about = {
                        "timed_out": solved.timed_out,
                        "programs": solved.programs,
                        "taken": solved.taken,
                    }
                    yield self.record(case, "solver_gap", solved.gap, "1", **where, **about)
                    yield self.record(case, "solver_seconds", solved.seconds, "s", **where)

    def costs(self, case: str, ring: RingGraph) -> Iterator[schema.BenchmarkRecord]:
        """Predicted costs in protocols, in 64 bits with 16."""
        for name, rings in (("additive", ()), ("masked", ()), ("masked", NARROWER)):
            target = RingTarget(64, 16, 1, protocol(name).truncation, rings)
            found = placed(ring, target, Choices("optimal", name, "lan", self.seconds))
            for policy in ("every", "hoisted", "optimal"):
                if rings and policy != "optimal":
                    continue
                cost = policy_cost(found[policy], name)
                where = {"protocol": name, "policy": policy, "narrower_rings": list(rings)}
                yield self.record(case, "rounds", cost.rounds, "1", **where)
                yield self.record(case, "online_bytes_per_party", cost.online_bytes, "B", **where)
                yield self.record(case, "offline_bytes", cost.offline_bytes, "B", **where)
                for network, seconds in cost.seconds.items():
                    yield self.record(case, f"predicted_seconds_{network}", seconds, "s", **where)
                if cost.solved is not None:
                    about = {"timed_out": cost.solved.timed_out, "taken": cost.solved.taken}
                    yield self.record(case, "solver_gap", cost.solved.gap, "1", **where, **about)

    def exp_chain(self) -> Iterator[schema.BenchmarkRecord]:
        """Truncations of exp(x) = (1 + x / 2^8)^(2^8) on [-8, 0] in 128 bits with 16."""
        x = np.linspace(-8.0, 0.0, 64)
        build = GraphBuilder("exp")
        graph = calibrate(build.finish(build.emit("exp", build.input("x", x.shape))), [{"x": x}])
        ring = calibrate(approximate_ring(graph, "ring.crypten")[0], [{"x": x}])
        for policy in POLICIES:
            count = place(ring, RingTarget(128, 16), policy).truncations
            yield self.record("exp", "truncations", count, "1", policy=policy, ring_bits=128, frac_bits=16)


def tables(records: Sequence[schema.BenchmarkRecord]) -> str:
    """Reductions by model and ring, and costs by protocol, as Markdown."""
    cases = [c for c in dict.fromkeys(r.case for r in records) if c != "exp"]
    known = {(r.case, r.metric, *(str(v) for v in _place(r))): r.value for r in records}
    lines = ["| model | ring | " + " | ".join(f"{f} fraction bits" for f in FRACTIONS) + " |"]
    lines.append("|---|--:|" + "---|" * len(FRACTIONS))
    for case in cases:
        for width in RINGS:
            cells = []
            for bits in FRACTIONS:
                keys = [
                    (case, f"truncated_elements_{p}_over_every", str(width), str(bits)) for p in POLICIES[1:]
                ]
                cells.append(" / ".join(f"{known[k]:.2f}" if k in known else "-" for k in keys))
            lines.append(f"| {case} | {width} | " + " | ".join(cells) + " |")
    lines += ["", "| model | protocol | policy | rounds | MB sent | MB dealt | LAN s | WAN s |"]
    lines.append("|---|---|---|--:|--:|--:|--:|--:|")
    for r in records:
        if r.metric == "rounds":
            at = (r.case, *(str(v) for v in _place(r)))
            sent, dealt, lan, wan = (
                known[at[0], metric, *at[1:]]
                for metric in (
                    "online_bytes_per_party",
                    "offline_bytes",
                    "predicted_seconds_lan",
                    "predicted_seconds_wan",
                )
            )
            policy = r.parameters["policy"] + (", rings 32, 48, 64" if r.parameters["narrower_rings"] else "")
            lines.append(
                f"| {r.case} | {r.parameters['protocol']} | {policy} | {r.value:.0f} | {sent / 1e6:.2f}"
                f" | {dealt / 1e6:.2f} | {lan:.3f} | {wan:.2f} |"
            )
    return "\n".join(lines)


def _place(r: schema.BenchmarkRecord) -> tuple[Any, ...]:
    p = r.parameters
    if "protocol" in p:
        return p["protocol"], p["policy"], p["narrower_rings"]
    return p["ring_bits"], p["frac_bits"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truncation", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this model")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each integer program (default 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables into a Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    suite, console = Suite(options.seconds), Console(stderr=True)
    records = list(suite.exp_chain())
    for case in options.case or [*MODELS, *REAL]:
        console.print(case)
        ring = real_model(case, options.data) if case in REAL else random_model(case)
        if ring is not None:
            records += suite.reductions(case, ring)
            records += suite.costs(case, ring) if case in COSTED else []
            if options.json:
                schema.write(options.json, records)
    text = tables(records)
    sys.stdout.write(text + "\n")
    if options.into:
        block = re.compile(r"(<!-- reductions -->\n).*?(<!-- end -->)", re.DOTALL)
        options.into.write_text(block.sub(lambda m: f"{m[1]}{text}\n{m[2]}", options.into.read_text()))


if __name__ == "__main__":
    main()
