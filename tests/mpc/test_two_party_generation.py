"""Decoders step by step: a step computes what the whole text does, a kept cache gives the bits of `fixed`,
and nothing but the token is revealed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from cipherformer.backends import exact, fixed
from cipherformer.backends.mpc2.chain import verify_chain
from cipherformer.backends.mpc2.dealer import insecure_tape
from cipherformer.backends.mpc2.generation import Generator, build_generator
from cipherformer.backends.mpc2.insecure_local import InsecureSession
from cipherformer.capture import capture, pretrained
from cipherformer.errors import FormatError, ModelError, ProtocolError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.passes.answer import argmax_only
from cipherformer.passes.incremental import step_graph

WORDS, WIDTH, LENGTH, PROMPT = 13, 8, 6, 4


def decoder(kind: str) -> tuple[Graph, np.ndarray, np.ndarray]:
    """A captured decoder, its embedding table and texts."""
    common = {"attn_implementation": "eager", "use_cache": False, "vocab_size": WORDS, "bos_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "gpt2":
            config = GPT2Config(
                n_embd=WIDTH, n_layer=1, n_head=2, n_positions=32, eos_token_id=0, pad_token_id=0, **common
            )
            model: torch.nn.Module = GPT2LMHeadModel(config)
        else:
            model = LlamaForCausalLM(
                LlamaConfig(
                    hidden_size=WIDTH,
                    intermediate_size=12,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    num_key_value_heads=1,
                    max_position_embeddings=32,
                    eos_token_id=0,
                    **common,
                )
            )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    loaded = pretrained.wrapped(model.eval(), kind, tokens=LENGTH)
    graph = capture(loaded.module, loaded.example_inputs, name=kind)
    table = pretrained.embedded(loaded, np.arange(WORDS)[None])[0]
    tokens = np.random.default_rng(0).integers(0, WORDS, size=(6, LENGTH))
    return graph, table, tokens


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_steps_compute_what_the_whole_text_does(kind: str):
    graph, table, texts = decoder(kind)
    text = graph.inputs[0].name
    embedded = table[texts[0]][None]
    wanted = exact.run(graph, {text: embedded})[graph.outputs[0]]
    caches: list[np.ndarray] = []
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        step = step_graph(graph, start, stop)
        inputs = {text: embedded[:, start:stop]}
        inputs |= {f"cache.{i}": cache for i, cache in enumerate(caches)}
        logits, *caches = (exact.run(step.graph, inputs)[name] for name in step.graph.outputs)
        assert np.allclose(logits[:, -1], wanted[:, stop - 1], atol=1e-12)


def generate(generator: Generator, encoded: np.ndarray, tokens: list[int]) -> list[int]:
    """Tokens by two parties, each step's bits compared with `fixed`."""
    session = InsecureSession(generator.chain)
    masks: dict[int, object] = {}
    caches: list[np.ndarray] = []
    rows = encoded[tokens][None]
    out = []
    for i, (program, placement) in enumerate(
        zip(generator.chain.programs, generator.placements, strict=True)
    ):
        text = program.of("input")[0].name
        (found,) = session.ask(i, {text: rows})
        tape = insecure_tape(program, session.seeds, session.version, masks)  # type: ignore[arg-type]
        inputs = {text: rows, **{f"cache.{j}": cache for j, cache in enumerate(caches)}}
        values = fixed.run(placement, inputs, masks=tape).values
        token, *caches = (values[name] for name in placement.graph.outputs)
        assert np.array_equal(found, np.rint(token * 2.0 ** placement.frac_bits[placement.graph.outputs[0]]))
        out.append(round(float(token.item())))
        rows = encoded[[out[-1]]][None]
    return out


@pytest.mark.parametrize("kind, private", [("llama", False), ("gpt2", True)])
def test_two_parties_generate_what_the_plaintext_model_does(kind: str, private: bool):
    graph, table, texts = decoder(kind)
    text = graph.inputs[0].name
    generator = build_generator(graph, table, texts, prompt=PROMPT, argmax=True, private=private)
    tokens = [3, 1, 4, 1]
    found = generate(generator, np.eye(WORDS) if private else table, tokens)
    for token in found:
        padded = np.zeros((1, LENGTH, WIDTH))
        padded[0, : len(tokens)] = table[tokens]
        scores = exact.run(graph, {text: padded})[graph.outputs[0]][0, len(tokens) - 1]
        assert token == int(scores.argmax())
        tokens.append(token)
    assert len(found) == LENGTH - PROMPT + 1
    for program in generator.chain.programs:
        assert [s.shape for s in program.of("reveal")] == [(1, 1, 1)]


def test_steps_out_of_order_are_refused():
    graph, table, texts = decoder("llama")
    generator = build_generator(graph, table, texts, prompt=PROMPT)
    text = graph.inputs[0].name
    with pytest.raises(ProtocolError, match="no wire"):
        InsecureSession(generator.chain).ask(1, {text: table[:1][None]})
    first, *others = generator.chain.programs
    weight, *rest = others[0].steps
    other = replace(others[0], steps=(replace(weight, width=weight.width + 1), *rest))
    with pytest.raises(FormatError, match="differ in their weights"):
        verify_chain((first, other))
    carry = others[0].of("carry")[0]
    steps = tuple(replace(s, width=s.width + 1) if s.name == carry.name else s for s in others[0].steps)
    with pytest.raises(FormatError, match="another ring"):
        verify_chain((first, replace(others[0], steps=steps)))


def test_what_mixes_positions_is_refused():
    g = GraphBuilder("mean")
    x = g.input("x", (1, 4, 3))
    graph = g.finish(g.emit("add", x, g.emit("mean", x, dims=(1,), keepdim=True)))
    with pytest.raises(ModelError, match="mixes the positions"):
        step_graph(graph, 0, 2)


def test_argmax_takes_the_first_of_equals():
    g = GraphBuilder("scores")
    graph = argmax_only(g.finish(g.input("x", (2, 7))))
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.integers(0, 4, size=(2, 7)).astype(float)
        assert np.array_equal(exact.run(graph, {"x": x})[graph.outputs[0]][:, 0], x.argmax(axis=1))
