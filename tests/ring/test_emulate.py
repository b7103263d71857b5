"""Emulated models against float: the driver, the command, and real weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_models import attention_graph, samples

from cipherformer.backends.emulate import emulate, score
from cipherformer.cli import main
from cipherformer.errors import DataError, ModelError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.passes.ring import binary_masks, to_ring
from cipherformer.targets.ring import RingTarget

HIDDEN = -1e30


def masked_attention(seed: int = 0) -> Graph:
    """Causal softmax attention with large scores, and a layer norm."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("causal")
    build.origin = "attention"
    x = build.input("x", (1, 6, 8))
    q, k, v = (build.emit("linear", x, build.constant(rng.normal(size=(8, 8)) * 2.0)) for _ in range(3))
    scores = build.emit("matmul", q, build.emit("permute", k, dims=(0, 2, 1)))
    mask = build.constant(np.triu(np.full((6, 6), HIDDEN), 1)[None])
    weights = build.emit("softmax", build.emit("add", scores, mask), dim=2)
    build.origin = "norm"
    normal = build.emit("layer_norm", build.emit("matmul", weights, v), epsilon=1e-5, axes=(2,))
    build.origin = "head"
    return build.finish(build.emit("linear", normal, build.constant(rng.normal(size=(4, 8)))))


def inputs(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [{"x": rng.normal(size=(1, 6, 8))} for _ in range(count)]


@pytest.mark.parametrize("policy", ["every", "lazy", "hoisted"])
def test_a_causal_layer_with_large_scores_agrees_with_float(policy: str):
    labels = np.tile(np.arange(6) % 4, (3, 1))
    result = emulate(masked_attention(), inputs(3), RingTarget(64, 16, 1), policy=policy, labels=labels)
    assert result.largest_error < 0.01
    assert result.top1_agreement == 1.0
    assert not result.overflows
    assert [e.origin for e in result.layers] == ["attention", "norm", "head"]
    assert max(e.relative for e in result.layers) < 0.01
    assert result.perplexity is not None
    assert result.perplexity[1] == pytest.approx(result.perplexity[0], rel=1e-2)
    costs = [p.elements for p in result.policies]
    assert costs == sorted(costs, reverse=True)


def test_coarse_fractions_show_in_the_layers():
    graph, data = masked_attention(), inputs(2)
    fine, coarse = (emulate(graph, data, RingTarget(64, f, 1), policy="every") for f in (20, 6))
    assert coarse.rms_error > 20 * fine.rms_error


def test_a_mask_becomes_binary_and_the_meaning_stays():
    from cipherformer.backends import exact

    graph = masked_attention()
    binary = binary_masks(graph)
    assert not any(np.any(c < -1e4) for c in binary.constants.values())
    for sample in inputs(2):
        wanted, got = (exact.run(g, sample)[g.outputs[0]] for g in (graph, binary))
        np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_a_mask_over_a_whole_row_is_refused():
    build = GraphBuilder("empty")
    x = build.input("x", (1, 3))
    hidden = build.emit("add", x, build.constant(np.full((1, 3), HIDDEN)))
    with pytest.raises(ModelError, match="whole row"):
        binary_masks(build.finish(build.emit("softmax", hidden, dim=1)))


def test_an_unknown_set_and_missing_inputs_are_refused():
    with pytest.raises(ModelError, match=r"ring\.nobody"):
        to_ring(attention_graph(4, 4, 1), samples((1, 4, 3)), method="ring.nobody")
    with pytest.raises(DataError, match="no inputs"):
        emulate(attention_graph(4, 4, 1), [], RingTarget())


def test_scores_by_hand():
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]))
    accuracy, perplexity = score(logits, np.array([[0, 0]]))
    assert (accuracy, perplexity) == (0.5, pytest.approx((0.5 * 0.1) ** -0.5))
    assert score(logits, np.array([[0, -100]]))[1] == pytest.approx(2.0)
    with pytest.raises(DataError, match="labels of shape"):
        score(logits, np.array([0]))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers as a folder, and tokens."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    np.savez(folder / "text.npz", tokens=np.random.default_rng(0).integers(0, 32, size=(2, 9)))
    return folder


@pytest.mark.torch
def test_the_command_reports_agreement_layers_and_policies(llama: Path):
    out = llama / "out.json"
    command = ["emulate", str(llama), "--data", str(llama / "text.npz"), "--json", str(out)]
    command += ["--policy", "optimal", "--solver-seconds", "1", "--plot", str(llama / "out.png")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert (llama / "out.png").stat().st_size > 10_000
    record = json.loads(out.read_text())
    costs = record["policies"]
    assert list(costs) == ["every", "lazy", "hoisted", "optimal"]
    assert costs["optimal"]["predicted_seconds"]["lan"] <= costs["lazy"]["predicted_seconds"]["lan"]
    assert costs["optimal"]["rounds"] <= costs["every"]["rounds"]
    assert costs["optimal"]["solver"]["programs"] >= 1
    assert record["top1_agreement"] == 1.0
    assert record["perplexity"]["emulated"] == pytest.approx(record["perplexity"]["float"], rel=1e-2)
    assert record["policies"]["lazy"]["truncated_elements_over_every"] < 1.0
    assert not record["overflows"]
    assert any("layers.1" in layer["origin"] for layer in record["layers"])
    assert "predicted for one party of additive" in done.output
    assert "solver" in done.output


@pytest.mark.torch
def test_a_sweep_shows_accuracy_and_cost_of_each_ring_and_what_does_not_fit(llama: Path):
    out, picture = llama / "sweep.json", llama / "sweep.png"
    command = ["emulate", str(llama), "--data", str(llama / "text.npz"), "--limit", "1", "--sweep"]
    command += ["--rings", "20,64", "--fractions", "8,14", "--protocol", "masked"]
    done = CliRunner().invoke(main, [*command, "--json", str(out), "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    points = {(p["ring_bits"], p["frac_bits"]): p for p in json.loads(out.read_text())["points"]}
    assert set(points) == {(r, f) for r in (20, 64) for f in (8, 14)}
    assert points[64, 14]["rms_error"] < points[64, 8]["rms_error"]
    assert points[64, 8]["truncated_elements"] <= points[64, 14]["truncated_elements"]
    assert "do not fit" in points[20, 14]["reason"]
    assert picture.stat().st_size > 10_000


@pytest.mark.torch
def test_the_command_says_what_a_ring_that_is_too_small_lacks(llama: Path):
    command = ["emulate", str(llama), "--tokens", "4", "--ring-bits", "24", "--frac-bits", "12"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "smallest ring" in done.output
    assert "layers.0" in done.output


ROOT = Path(__file__).parents[2]
DATA = next((d for d in (ROOT / "shared/data", ROOT.parent / "shared/data") if d.exists()), ROOT)


@pytest.mark.torch
@pytest.mark.data
@pytest.mark.slow
def test_real_weights_agree_on_real_text(tmp_path: Path):
    files = [
        DATA / "stories260k" / "stories260K.bin",
        DATA / "stories260k" / "tok512.bin",
        DATA / "tinystories_text" / "tiny_stories.txt",
    ]
    if not all(f.exists() for f in files):
        pytest.skip("the real-data folder is not here")
    from examples import llama2c

    llama2c.load(files[0]).save_pretrained(tmp_path)
    tokens = llama2c.windows(files[2].read_text(), llama2c.read_vocabulary(files[1]), 32, 3)
    np.savez(tmp_path / "text.npz", tokens=tokens)
    out = tmp_path / "out.json"
    command = ["emulate", str(tmp_path), "--data", str(tmp_path / "text.npz"), "--json", str(out)]
    assert CliRunner().invoke(main, command).exit_code == 0
    record = json.loads(out.read_text())
    assert record["top1_agreement"] >= 0.99
    assert record["perplexity"]["emulated"] == pytest.approx(record["perplexity"]["float"], rel=1e-3)
    assert 2.0 < record["perplexity"]["float"] < 6.0  # 1.6 nats a token is what the weights are known for
