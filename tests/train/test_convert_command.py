"""The command `convert`: from a factory and arrays to a folder that the other commands take."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cipherformer.cli import main

pytestmark = pytest.mark.torch

FACTORY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(6, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def build(width):
    torch.manual_seed(0)
    return Net(int(width)), torch.zeros(1, 6)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "convertible_net.py").write_text(FACTORY)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=(inputs[:, :3]).argmax(1))
    np.save(tmp_path / "samples.npy", inputs[:8])
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


MODEL = "convertible_net:build(8)"


def test_a_model_is_converted_and_its_folder_is_taken_by_other_commands(folder):
    text = run("convert", MODEL, "--data", "data.npz", "--out", "out", "--epochs", "2", "--json", "all.json")
    assert "ReLU -> ChannelScaled" in " ".join(text.split())
    names = {path.name for path in (folder / "out").iterdir()}
    wanted = {"model.safetensors", "model.json", "recipe.json", "ranges.json", "report.json", "report.png"}
    assert wanted <= names
    report = json.loads((folder / "all.json").read_text())
    assert report == json.loads((folder / "out/report.json").read_text())
    assert [stage["stage"] for stage in report["stages"]] == ["original", "substitute and match"]
    assert report["costs"]["after"]["encrypted"]["predicted_seconds"] > 0.0
    assert all(report["costs"][when]["two_party"]["rounds"] > 0 for when in ("before", "after"))
    assert "no obstacles" in run("check", "out")
    assert "predicted time" in run("compile", "out", "--samples", "samples.npy", "--out", "plan")


def test_degrees_are_traded_against_predicted_cost(folder):
    words = ("degrees", MODEL, "--data", "data.npz", "--budget", "0.05", "--plot", "trade.png")
    text = run(*words, "--json", "trade.json")
    assert "ReLU" not in text and "1 activation" in text
    found = json.loads((folder / "trade.json").read_text())
    points = found["points"]
    assert len(points) > 2 and (folder / "trade.png").stat().st_size > 1000
    assert [p["error"] for p in points] == sorted((p["error"] for p in points), reverse=True)
    assert [p["seconds"] for p in points] == sorted(p["seconds"] for p in points)
    cheapest = min((p for p in points if p["error"] <= 0.05), key=lambda p: p["seconds"])
    assert found["chosen"] == cheapest and cheapest["sites"][0]["size"] > points[0]["sites"][0]["size"]
    result = CliRunner().invoke(main, ["degrees", MODEL, "--data", "data.npz", "--budget", "1e-9"])
    assert result.exit_code == 2 and "budget" in result.output + (result.stderr or "")


def test_a_broken_contract_ends_with_an_error_and_keeps_the_weights(folder):
    words = ("convert", MODEL, "--data", "data.npz", "--recipe", "poly-cnn", "--no-price", "--epochs", "0")
    text = run(*words, "--out", "kept")  # degree 18 is what this recipe states
    assert "activation levels" in text and "5" in text
    assert (folder / "kept/model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "nothing"), "neither a file of a known kind nor a Python reference"),
        (("--data", "convertible_net:build(2)"), "did not return cipherformer.train.Data"),
        (("--data", "data.npz", "--recipe", "none"), "there is no recipe 'none'"),
    ],
)
def test_mistakes_are_explained(folder, words, said):
    result = CliRunner().invoke(main, ["convert", MODEL, "--out", "x", *words])
    assert result.exit_code == 2
    assert said in " ".join((result.output + (result.stderr or "")).replace("│", " ").split())


def test_weights_in_the_folder_are_those_of_the_model(folder):
    run("convert", MODEL, "--data", "data.npz", "--out", "out", "--no-price")
    from cipherformer.cli.model import load_model

    first, second = (load_model("out", shape=None, tokens=4).module for _ in range(2))
    x = torch.randn(3, 6)
    assert torch.equal(first(x), second(x))
