"""`cipherformer two-party` on a folder of transformers, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import LlamaConfig, LlamaForCausalLM

from cipherformer.cli import main

WORDS = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, and two prompts."""
    path = tmp_path_factory.mktemp("llama")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=WORDS, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32, bos_token_id=0,
                eos_token_id=0,
            )
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # clear winners
    model.save_pretrained(path)
    np.savez(path / "prompts.npz", tokens=np.array([[3, 1, 4], [1, 5, 9]]))
    return path


def two_party(folder: Path, *words: str) -> tuple[str, dict[str, object]]:
    out = folder / "out.json"
    given = ["two-party", "--model", folder, "--input", folder / "prompts.npz", "--json", out, *words]
    result = CliRunner().invoke(main, [str(word) for word in given], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(out.read_text())


def test_a_text_is_continued_token_by_token(folder: Path):
    printed, found = two_party(folder, "--generate", "3", "--answer", "argmax", "--lookup", "private")
    tokens = np.array(found["tokens"])
    assert tokens.shape == (2, 3) and tokens.max() < WORDS
    assert found["agreement"] == 1.0
    shown = [line.strip() for line in printed.splitlines()]
    assert [line for line in shown if line.isdigit()] == [str(t) for t in tokens.ravel()]
    assert len(found["steps"]) == 3 and all(step["rounds"] > 0 for step in found["steps"])  # type: ignore[arg-type, attr-defined]


def test_the_best_entry_alone(folder: Path):
    """Of the scores of each position, over a slow line."""
    _, found = two_party(folder, "--answer", "argmax", "--lookup", "private", "--network", "4,1000")
    answer = np.array(found["answer"])
    assert found["top1_agreement"] == 1.0
    assert answer.shape == (3,) and np.array_equal(answer, np.rint(answer))
    assert found["online_seconds"] > found["rounds"] * 0.002  # type: ignore[operator]
    parts = found["protocols"]
    assert sum(part["offline_bytes"] for part in parts) == found["offline_bytes"]  # type: ignore[attr-defined]


def test_weights_are_opened_once_for_runs_with_an_epoch(folder: Path):
    np.savez(folder / "typical.npz", tokens=np.random.default_rng(0).integers(0, WORDS, size=(8, 3)))
    options = ("--calibrate", str(folder / "typical.npz"), "--epochs", str(folder / "epochs"))
    setup = [two_party(folder, *options)[1]["setup_bytes"] for _ in range(2)]
    assert setup[0] > 0 and setup[1] == 0  # type: ignore[operator]


def test_a_published_set_by_name(folder: Path):
    """Its functions on additive shares, with a private look-up and the best entry alone as the answer."""
    words = ("--protocol", "crypten", "--lookup", "private", "--answer", "argmax")
    printed, found = two_party(folder, *words)
    assert found["top1_agreement"] == 1.0
    assert len(found["mended"]) == 2 and "other than published" in printed  # type: ignore[arg-type]
    protocols = {part["name"] for part in found["protocols"]}  # type: ignore[attr-defined]
    assert {"shares.trunc", "shares.product", "open"} <= protocols


@pytest.mark.parametrize(
    "words, message",
    [
        (("--network", "fast"), "is not MS,MBIT"),
        (("--network", "1,0"), "is no network"),
        (("--text", "a"), "either --text or --input"),
        (("--generate", "2", "--protocol", "additive"), "a cache is kept as masked wires"),
    ],
)
def test_wrong_options_are_refused(folder: Path, words: tuple[str, ...], message: str):
    given = ["two-party", "--model", str(folder), "--input", str(folder / "prompts.npz"), *words]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
