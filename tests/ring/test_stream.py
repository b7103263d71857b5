"""Models that run block by block are the same models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cipherformer.backends.stream import BlockRun, emulate_streamed
from cipherformer.errors import DataError, LimitError, ModelError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.targets.ring import RingTarget

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 40,
}


def block(seed: int, name: str) -> Graph:
    rng = np.random.default_rng(seed)
    build = GraphBuilder(name)
    build.origin = name
    x = build.input("x", (1, 4, 8))
    y = build.emit(
        "gelu", build.emit("linear", x, build.constant(rng.normal(size=(8, 8)))), approximate="none"
    )
    return build.finish(build.emit("add", x, y))


def test_activations_pass_from_block_to_block():
    seen: list[BlockRun] = []
    start = np.random.default_rng(0).normal(size=(1, 4, 8))
    made = iter([block(seed, f"block {seed}") for seed in range(3)])
    result = emulate_streamed(made, start, RingTarget(64, 16, 1), on_block=seen.append)
    from cipherformer.backends import exact

    x = start
    for seed in range(3):
        graph = block(seed, "again")
        x = exact.run(graph, {"x": x})[graph.outputs[0]]
    np.testing.assert_allclose(result.reference, x, atol=1e-9)
    np.testing.assert_allclose(result.output, x, atol=2e-2)
    assert [b.name for b in seen] == [b.name for b in result.blocks] == [f"block {i}" for i in range(3)]
    assert all(0.0 < b.relative < 1e-3 and b.elements > 0 and b.headroom > 0 for b in seen)
    assert not result.overflows


def test_graphs_side_by_side_read_the_same_activations():
    start = np.random.default_rng(0).normal(size=(1, 4, 8))
    whole = [emulate_streamed([block(seed, "alone")], start, RingTarget(64, 16, 1)) for seed in (1, 2)]
    result = emulate_streamed([iter([block(1, "a"), block(2, "b")])], start, RingTarget(64, 16, 1))
    np.testing.assert_array_equal(result.output, np.concatenate([r.output for r in whole], axis=-1))
    assert [b.name for b in result.blocks] == ["a", "b"]


def test_a_stream_names_what_is_wrong():
    start = np.zeros((1, 4, 8))
    with pytest.raises(DataError, match="no blocks"):
        emulate_streamed([], start, RingTarget())
    with pytest.raises(LimitError, match="fit"):
        emulate_streamed([block(0, "first")], start + 1e4, RingTarget(24, 12))
    build = GraphBuilder("two inputs")
    graph = build.finish(build.emit("add", build.input("a", (2,)), build.input("b", (2,))))
    with pytest.raises(DataError, match="two inputs has 2 inputs"):
        emulate_streamed([graph], np.zeros(2), RingTarget())


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "GPT2"])
def test_a_folder_streams_as_the_whole_model(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    import transformers

    from cipherformer.capture.streamed import streamed

    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 3, "n_head": 4, "vocab_size": 40} if kind == "GPT2" else SHAPE
    monkeypatch.setattr("cipherformer.capture.streamed._PART", 16 * 15)
    config = getattr(transformers, f"{kind}Config")(**shape, attn_implementation="eager", pad_token_id=None)
    model = getattr(transformers, f"{kind}{'LMHeadModel' if kind == 'GPT2' else 'ForCausalLM'}")(
        config
    ).eval()
    model.save_pretrained(tmp_path)
    tokens = np.random.default_rng(1).integers(0, 40, size=6)
    with torch.no_grad():
        wanted = model(torch.from_numpy(tokens)[None]).logits.double().numpy()
    read = streamed(tmp_path, tokens=6)
    result = emulate_streamed(read.blocks(), read.start(tokens), RingTarget(64, 16, 1))
    assert [b.name.split(".", 1)[-1] for b in result.blocks[2:]] == [
        "2",
        "norm",
        "head.0",
        "head.1",
        "head.2",
    ]
    np.testing.assert_allclose(result.reference, wanted, atol=1e-5)
    np.testing.assert_allclose(result.output, wanted, atol=5e-3)
    assert result.top1_agreement == 1.0
    with pytest.raises(DataError, match="outside the vocabulary"):
        read.start(tokens + 40)


@pytest.mark.torch
def test_random_weights_repeat_with_their_seed():
    transformers = pytest.importorskip("transformers")
    from cipherformer.capture.streamed import Weights, from_config

    config = transformers.LlamaConfig(**SHAPE)
    runs = []
    for seed in (1, 1, 2):
        model = from_config(config, "random", tokens=4, weights=Weights(None, seed))
        runs.append(emulate_streamed(model.blocks(1), model.start(), RingTarget(64, 16, 1)).output)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.any(runs[0] != runs[2])


@pytest.mark.torch
def test_models_that_cannot_be_streamed_are_refused(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    from cipherformer.capture.streamed import from_config, streamed

    config = transformers.OPTConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=4, ffn_dim=8)
    with pytest.raises(ModelError, match="opt cannot be streamed"):
        from_config(config, "opt", tokens=4)
    with pytest.raises(ModelError, match="configuration"):
        streamed(tmp_path, tokens=4)


@pytest.mark.torch
def test_the_command_streams_a_folder(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    from cipherformer.cli import main

    transformers.LlamaConfig(**{**SHAPE, "num_hidden_layers": 1}).save_pretrained(tmp_path)
    out = tmp_path / "out.json"
    command = ["emulate", str(tmp_path), "--stream", "--tokens", "5", "--json", str(out)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    record = json.loads(out.read_text())
    assert record["top1_agreement"] == 1.0
    assert [b["name"].rsplit(".")[-1] for b in record["blocks"]] == ["0", "norm", "0"]
    assert "Blocks in 64 bits" in done.output
    done = CliRunner().invoke(main, ["emulate", "somewhere.py:model", "--stream"])
    assert done.exit_code == 2
    assert "takes a folder" in done.output
