"""Cost of emulation: `python -m benchmarks.emulation_speed [--case gpt2] [--json FILE]`.

Models have published shapes and random weights. `gpt2`, `llama` and `bert` (12 blocks of width 768) run whole
at 128 tokens: `emulation_over_float32` is the median time of a run in a ring over that of the same model's
float32 forward in torch, with as many threads on both sides, alternating. Each case has three settings:
`54` is a ring whose values float64 holds exactly, `64` the default ring with carriers chosen from bounds, and
`64-int64` the same with all values in int64. `llama-7b` and `gemma-2b` are streamed block by block, weights
from a seed: `seconds` (capture, calibration and placement included), `seconds_in_ring`, `peak_memory_bytes`.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from threadpoolctl import threadpool_limits

import cipherformer as cf
from cipherformer.backends.integers import Carrier
from cipherformer.backends.prepared import Prepared
from cipherformer.backends.stream import emulate_streamed
from cipherformer.capture import capture
from cipherformer.capture.pretrained import wrapped
from cipherformer.capture.streamed import from_config
from cipherformer.cli.output import print_table
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import place
from cipherformer.report import schema
from cipherformer.report.compare import suite_table
from cipherformer.report.machine import machine, today
from cipherformer.targets.ring import RingTarget

Metrics = Mapping[str, tuple[float, str]]

WIDTH = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
WHOLE: Mapping[str, Callable[[], Any]] = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config()),
    "llama": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**WIDTH, intermediate_size=2048, num_key_value_heads=4)
    ),
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**WIDTH), add_pooling_layer=False),
}
STREAMED: Mapping[str, Callable[[], Any]] = {
    "llama-7b": lambda: transformers.LlamaConfig(),
    "gemma-2b": lambda: transformers.GemmaConfig(
        hidden_size=2048,
        intermediate_size=16384,
        num_hidden_layers=18,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=256,
    ),
}
SETTINGS: Mapping[str, tuple[RingTarget, Carrier]] = {
    "54": (RingTarget(54, 16, 1), Carrier.FLOAT64),
    "64": (RingTarget(64, 16, 1), Carrier.FLOAT64),
    "64-int64": (RingTarget(64, 16, 1), Carrier.INT64),
}


def seconds(call: Callable[[], Any]) -> float:
    """One run's."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_whole(
    case: str, tokens: int, threads: int, repeats: int, policy: str
) -> Iterator[tuple[str, Metrics]]:
    """Each setting's name and metrics."""
    torch.manual_seed(0)
    module = WHOLE[case]()
    module.config._attn_implementation = "eager"
    module.config.use_cache = False
    loaded = wrapped(module.eval(), case, tokens=tokens)
    ids = torch.randint(0, module.config.vocab_size, (1, tokens))
    with torch.no_grad():
        rows = module.get_input_embeddings()(ids)
    graph = capture(loaded.module, (rows,), name=case)
    sample = {graph.inputs[0].name: rows.double().numpy()}
    ring = to_ring(graph, [sample])
    del graph

    def float32() -> torch.Tensor:
        with torch.no_grad():
            return loaded.module(rows)

    wanted = float32().double().numpy()
    for name, (target, carrier) in SETTINGS.items():
        placement = place(ring.graph, target, policy)
        prepared = Prepared(placement, carrier=carrier, threads=threads)
        result = prepared.run(sample)  # encodes the weights, and finds the carriers
        got = result.values[placement.graph.outputs[0]]
        times = [(seconds(float32), seconds(lambda p=prepared: p.run(sample))) for _ in range(repeats)]
        own, peer = median(t[1] for t in times), median(t[0] for t in times)
        yield (
            name,
            {
                "emulation_over_float32": (own / peer, "1"),
                "seconds": (own, "s"),
                "seconds_float32": (peer, "s"),
                "relative_error": (float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)), "1"),
                "float64_share": (result.carriers.get("float64", 0) / sum(result.carriers.values()), "1"),
            },
        )
        del prepared


def measure_streamed(case: str, tokens: int, threads: int, layers: int | None, policy: str) -> Metrics:
    """Metrics of one model, or of its first layers."""
    start = time.perf_counter()
    model = from_config(STREAMED[case](), case, tokens=tokens)
    result = emulate_streamed(
        model.blocks(layers), model.start(), RingTarget(64, 16, 1), policy=policy, threads=threads
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": (time.perf_counter() - start, "s"),
        "seconds_in_ring": (sum(block.seconds for block in result.blocks), "s"),
        "peak_memory_bytes": (float(peak), "B"),
        "relative_error": (result.blocks[-1].relative, "1"),
        "blocks": (float(len(result.blocks)), "1"),
        "top1_agreement": (result.top1_agreement, "1"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulation_speed", description=__doc__)
    parser.add_argument(
        "--case", action="append", choices=[*WHOLE, *STREAMED], help="default: gpt2, llama, bert"
    )
    parser.add_argument("--tokens", type=int, help="default: 128, and 16 where a model is streamed")
    parser.add_argument("--threads", type=int, default=1, help="of both sides (default 1)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, help="only the first blocks of a streamed model")
    parser.add_argument("--policy", default="hoisted", help="of truncation (default hoisted)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    records: list[schema.BenchmarkRecord] = []

    def add(case: str, metrics: Metrics, tokens: int) -> None:
        for metric, (value, unit) in metrics.items():
            records.append(
                schema.BenchmarkRecord(
                    suite="emulation_speed",
                    case=case,
                    subject="cipherformer",
                    version=cf.__version__,
                    metric=metric,
                    value=value,
                    unit=unit,
                    threads=options.threads,
                    parameters={"tokens": tokens, "policy": options.policy, "frac_bits": 16},
                    machine=machine(),
                    date=today(),
                )
            )

    with threadpool_limits(options.threads):
        for case in options.case or list(WHOLE):
            if case in WHOLE:
                tokens = options.tokens or 128
                for name, metrics in measure_whole(
                    case, tokens, options.threads, options.repeats, options.policy
                ):
                    add(f"{case}-{name}", metrics, tokens)
            else:
                tokens = options.tokens or 16
                add(
                    case,
                    measure_streamed(case, tokens, options.threads, options.layers, options.policy),
                    tokens,
                )
    print_table(Console(), suite_table("emulation_speed", records))
    if options.json:
        schema.write(options.json, records)


if __name__ == "__main__":
    main()
