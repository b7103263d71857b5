"""Published architectures, unmodified: captured, run in fixed point, and causal where they promise it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from architectures import zoo

from cipherformer.backends import exact, fixed
from cipherformer.capture import capture, check, pretrained
from cipherformer.graph import Graph
from cipherformer.passes.fuse import fuse_norms
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import Placement, place
from cipherformer.targets.ring import RingTarget

pytestmark = pytest.mark.torch

BOUNDS = {
    "llama": 1e-3,
    "mistral": 1e-3,
    "qwen2": 1e-3,
    "qwen3": 1.5e-3,
    "gemma": 1e-3,
    "gemma2": 4e-3,
    "gemma3": 1e-3,
    "phi": 1e-3,
    "phi3": 1.5e-3,
    "gpt2": 2e-3,
    "gpt_neox": 1e-3,
    "opt": 1e-3,
    "bloom": 1e-3,
    "falcon": 1e-3,
    "falcon_new": 1e-3,
    "falcon_alibi": 1e-3,
    "apertus": 1e-3,
    "nemotron": 5e-3,
    "modernbert": 6e-4,
    "bert": 6e-4,
    "roberta": 6e-4,
    "distilbert": 6e-4,
    "t5": 6e-4,
    "t5_gated": 6e-4,
    "t5_encoder": 2e-3,
    "swin": 6e-4,
    "vit": 6e-4,
    "clip_vision": 6e-4,
    "clip_text": 6e-4,
    "clip": 2e-3,
}
"""Largest |emulated - float| of an output, 64-bit ring and 16 fraction bits. Outputs are of size 1."""

NORMS = {
    "llama": ("rms_norm", 5),
    "mistral": ("rms_norm", 5),
    "qwen2": ("rms_norm", 5),
    "qwen3": ("rms_norm", 9),
    "gemma": ("rms_norm", 5),
    "gemma2": ("rms_norm", 9),
    "gemma3": ("rms_norm", 13),
    "phi3": ("rms_norm", 5),
    "gpt2": ("layer_norm", 5),
    "t5": ("rms_norm", 12),
    "t5_gated": ("rms_norm", 12),
    "t5_encoder": ("rms_norm", 5),
}
"""Normalisations of models that write them out, and of one that does not."""

ACTIVATIONS = {
    "gpt2": "gelu",
    "bloom": "gelu",
    "t5_gated": "gelu",
    "llama": "silu",
    "clip_text": "function",
    "apertus": "function",
    "nemotron": "function",
}
"""What the activations become; those of the last three have no entry in the table."""

QUICK = ("llama", "gemma2", "gpt2", "bloom", "t5_encoder", "bert", "clip_text")
NAMES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in zoo.ZOO]
DECODERS = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in zoo.DECODERS]

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Imported:
    """A model's graph, two inputs with torch's answers, and its placement."""

    graph: Graph
    samples: tuple[Sample, ...]
    wanted: tuple[np.ndarray, ...]
    placement: Placement


@cache
def imported(name: str) -> Imported:
    torch.set_num_threads(1)
    module = zoo.model(name)
    loaded = pretrained.wrapped(module, name, tokens=zoo.TOKENS)
    shapes = [tuple(x.shape) for x in loaded.example_inputs]
    drawn = [zoo.inputs(module, shapes, seed=seed) for seed in (1, 2)]
    graph = capture(loaded.module, drawn[0], name=name)
    names = [node.name for node in graph.inputs]
    samples = tuple({n: x.double().numpy() for n, x in zip(names, xs, strict=True)} for xs in drawn)
    with torch.no_grad():
        wanted = tuple(loaded.module(*xs).double().numpy() for xs in drawn)
    ring = to_ring(graph, samples)
    return Imported(graph, samples, wanted, place(ring.graph, RingTarget(64, 16, 1), "hoisted"))


def emulated(model: Imported, sample: Sample) -> np.ndarray:
    """The integers' values; a value that leaves the ring is an error."""
    return fixed.run(model.placement, sample).values[model.placement.graph.outputs[0]]


def test_every_architecture_has_a_bound():
    assert set(BOUNDS) == set(zoo.ZOO)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_equals_torch_and_fixed_point_is_within_its_bound(name: str):
    model = imported(name)
    for sample, wanted in zip(model.samples, model.wanted, strict=True):
        np.testing.assert_allclose(exact.run(model.graph, sample)[model.graph.outputs[0]], wanted, atol=1e-4)
        assert np.max(np.abs(emulated(model, sample) - wanted)) <= BOUNDS[name]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_writes_out_is_recognised(name: str):
    graph = imported(name).graph
    if name in NORMS:
        op, count = NORMS[name]
        fused = fuse_norms(graph)
        assert [n.op for n in fused].count(op) == count
        assert not any(n.op == "inverse_sqrt" for n in fused)
    if name in ACTIVATIONS:
        assert [n.op for n in graph].count(ACTIVATIONS[name]) == (4 if name == "t5_gated" else 2)


@pytest.mark.parametrize("name", DECODERS)
def test_a_future_token_changes_no_earlier_logit(name: str):
    model = imported(name)
    key = model.graph.inputs[0].name
    now, last = model.samples[0], model.samples[1][key][:, -1]
    later = {key: now[key].copy()}
    later[key][:, -1] = last
    before, after = (emulated(model, sample) for sample in (now, later))
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert np.any(before[:, -1] != after[:, -1])


def test_a_padding_mask_is_public_and_hides_what_it_covers():
    module = zoo.model("bert")
    mask = torch.ones(1, zoo.TOKENS, dtype=torch.long)
    mask[0, 5:] = 0

    class Padded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.inner(inputs_embeds=x, attention_mask=mask).logits
            return out

    (first,), (second,) = (zoo.inputs(module, [(1, zoo.TOKENS, 32)], seed=s) for s in (1, 2))
    mixed = torch.cat([first[:, :5], second[:, 5:]], dim=1)
    graph = capture(Padded(), (first,), public={"mask": mask})
    (key,) = (node.name for node in graph.inputs)
    samples = [{key: x.double().numpy()} for x in (first, mixed)]
    with torch.no_grad():
        wanted = module(inputs_embeds=first[:, :5]).logits.numpy()
    placement = place(to_ring(graph, samples).graph, RingTarget(64, 16, 1))
    for sample in samples:
        got = fixed.run(placement, sample).values[placement.graph.outputs[0]]
        np.testing.assert_allclose(got, wanted, atol=BOUNDS["bert"])


def test_check_names_every_place_that_cannot_be_imported():
    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort(dim=-1).values

    module = zoo.model("bert")
    module.bert.encoder.layer[0].intermediate.intermediate_act_fn = Sorted()
    module.bert.encoder.layer[1].output.dropout = Sorted()
    loaded = pretrained.wrapped(module, "bert", tokens=zoo.TOKENS)
    found = check(loaded.module, loaded.example_inputs, target="ring")
    assert [o.where for o in found] == [
        "model.bert.encoder.layer.0.intermediate.intermediate_act_fn",
        "model.bert.encoder.layer.1.output.dropout",
    ]
    assert all("aten.sort" in o.what and o.why and o.fix for o in found)
