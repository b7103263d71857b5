"""The commands, as a user calls them: what they print, write, and return."""

from __future__ import annotations

import json
import re
import stat

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tiny import samples
from torch import nn

from cipherformer import __version__
from cipherformer.cli import main
from cipherformer.plan.plan import Plan
from cipherformer.report.table import show_seconds


def call(*words) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*words) -> str:
    """The error block of a call that must fail as a user's error."""
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.replace("│", " ").split())


def build_softmax() -> nn.Module:
    """A model with two obstacles, that carries its example input."""

    class Bad(nn.Module):
        example_inputs = torch.zeros(1, 4)

        def forward(self, x):
            return torch.sort(x.cumsum(1))[0]

    return Bad()


def build_unknown_shape() -> nn.Module:
    return nn.Linear(4, 2)


def build_failing() -> nn.Module:
    raise RuntimeError("no weights today")


NOT_A_MODEL = 3


def test_version_and_help() -> None:
    assert __version__ in call("--version").output
    text = call("--help").output
    for name in ("check", "compile", "keygen", "serve", "query", "show", "report", "demo"):
        assert f"  {name}" in text
        assert call(name, "--help").exit_code == 0


def test_check_of_a_model_without_obstacles(tmp_path) -> None:
    result = call("check", "tiny:build", "--json", tmp_path / "x.json")
    assert result.exit_code == 0 and "no obstacles" in result.output
    assert json.loads((tmp_path / "x.json").read_text()) == {"model": "tiny:build", "obstacles": []}


def test_check_lists_every_obstacle_and_returns_1() -> None:
    result = call("check", "test_cli:build_softmax", "--json", "-")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)["obstacles"]
    assert len(rows) >= 1 and all(row["what"] and row["why"] and row["fix"] for row in rows)
    assert "obstacles in test_cli:build_softmax" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nonsense", "neither a file, a folder nor"),
        ("no.such.module:build", "cannot import the model"),
        ("tiny:nothing", "cannot import the model"),
        ("test_cli:NOT_A_MODEL", "not a function that returns a model"),
        ("test_cli:build_failing", "no weights today"),
        ("test_cli:samples", "did not return a torch module"),
        ("test_cli:build_unknown_shape", "shape of the model's input is unknown"),
    ],
)
def test_a_wrong_model_is_a_clear_error(reference, message) -> None:
    assert message in refused("check", reference)


def test_a_shape_can_be_given() -> None:
    assert call("check", "test_cli:build_unknown_shape", "--shape", "1,4").exit_code == 0
    assert call("check", "test_cli:build_unknown_shape", "--shape", "1,zero").exit_code == 2


def test_compile_writes_a_plan_and_a_signature(tmp_path, world) -> None:
    out, record = tmp_path / "plan", tmp_path / "plan.json"
    result = call("compile", "tiny:build", "-s", world.inputs, "-o", out, "--json", record)
    assert result.exit_code == 0, result.output
    plan, summary = Plan.load(out), json.loads(record.read_text())
    assert summary["fingerprint"] == plan.fingerprint and summary["security_bits"] == 128
    assert (out / "signature.json").exists()
    weights = plan.signature.to_json()
    assert "arrays" not in weights and str(out / "signature.json") in result.output.replace("\n", "")


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.zeros((3, 5)), "array of shape [3, 5]"), (np.zeros((0, 8)), "array of shape [0, 8]")],
)
def test_samples_of_a_wrong_shape_are_a_clear_error(tmp_path, array, message) -> None:
    np.save(tmp_path / "x.npy", array)
    assert message in refused("compile", "tiny:build", "-s", tmp_path / "x.npy", "-o", tmp_path / "plan")


def test_samples_that_are_no_numbers_are_a_clear_error(tmp_path) -> None:
    (tmp_path / "x.npy").write_bytes(b"nonsense")
    words = ("compile", "tiny:build", "-s", tmp_path / "x.npy", "-o", tmp_path / "plan")
    assert "cannot read numbers" in refused(*words)
    np.savez(tmp_path / "x.npz", a=samples(), b=samples())
    words = ("compile", "tiny:build", "-s", tmp_path / "x.npz", "-o", tmp_path / "plan")
    assert "not one array for each input" in refused(*words)


def test_keygen_makes_a_private_folder_once(tmp_path, world) -> None:
    words = (
        "keygen",
        "--insecure",
        world.plan_folder / "signature.json",
        "-o",
        tmp_path / "keys",
        "--json",
        tmp_path / "k.json",
    )
    assert call(*words).exit_code == 0
    record = json.loads((tmp_path / "k.json").read_text())
    assert record["plan"] == world.plan.fingerprint and record["key_bytes"] > 10000
    assert stat.S_IMODE((tmp_path / "keys" / "secret.key").stat().st_mode) == 0o600
    assert "there are keys in this folder already" in refused(*words)


def test_keygen_refuses_insecure_parameters(tmp_path, world) -> None:
    text = refused("keygen", world.plan_folder, "-o", tmp_path / "keys")
    assert "not secure" in text and "--insecure" in text
    assert not (tmp_path / "keys").exists()


def test_keygen_of_another_file_is_a_clear_error(tmp_path, world) -> None:
    assert "no readable signature" in refused("keygen", tmp_path, "-o", tmp_path / "keys")
    (tmp_path / "signature.json").write_text("[]")
    assert "not a signature" in refused("keygen", tmp_path, "-o", tmp_path / "keys")


def test_query_without_a_server_is_a_clear_error(tmp_path, world) -> None:
    words = ("query", world.keys, "-c", f"unix:{tmp_path}/nobody", "-i", world.inputs)
    text = refused(*words)
    assert "cannot reach the server" in text and "cipherformer serve" in text
    assert "this is not an address" in refused("query", world.keys, "-c", "nowhere", "-i", world.inputs)


def test_serve_of_a_damaged_plan_is_a_clear_error(tmp_path, world) -> None:
    assert "no readable plan" in refused("serve", tmp_path)
    folder = world.plan.save(tmp_path / "plan")
    text = (folder / "plan.json").read_text()
    (folder / "plan.json").write_text(text.replace('"name": "tiny"', '"name": "tinz"', 1))
    assert "do not match its fingerprint" in refused("serve", folder)


def test_query_through_the_command_line(tmp_path, world, shared_server) -> None:
    words = ("query", world.keys, "-c", shared_server.address, "-i", world.inputs, "-n", 2)
    result = call(*words, "--json", "-", "-o", tmp_path / "out.npy")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["answers"]) == 2 and np.load(tmp_path / "out.npy").shape == (2, 3)
    assert "Answers" in result.stderr


def test_a_page_compares_prediction_and_queries(tmp_path, world, shared_server) -> None:
    asked = tmp_path / "asked.json"
    call("query", world.keys, "-c", shared_server.address, "-i", world.inputs, "-n", 2, "--json", asked)
    page = tmp_path / "pages" / "tiny.html"
    call("show", world.plan_folder, "--html", page, "--answers", asked)
    text = page.read_text()
    answers = json.loads(asked.read_text())["answers"]
    mean = sum(r["seconds"] for a in answers for r in a["trace"]) / 2
    totals = re.findall(r"<th>total</th><th class='n'>(.*?)</th><th class='n'>(.*?)</th>", text)
    assert len(totals) == 3 and len(set(totals)) == 1
    assert totals[0][1] == show_seconds(mean)
    assert "ct-pt product" in text and "http" not in text.replace("lang=", "")
    assert "no plan to make a page of" in refused("show", world.keys, "--html", page)
    assert "not the record of a query" in refused(
        "show", world.plan_folder, "--html", page, "--answers", world.plan_folder / "signature.json"
    )


def test_show_tells_what_a_path_is(world) -> None:
    plan = call("show", world.plan_folder, "--graph", "--steps").output
    assert "Plan tiny" in plan and "linear" in plan and "rescale" in plan
    assert "Keys in" in call("show", world.keys).output
    signature = json.loads(call("show", world.plan_folder / "signature.json", "--json", "-").stdout)
    assert signature["plan"] == world.plan.fingerprint and signature["security_bits"] == 0


def test_show_of_something_else_is_a_clear_error(tmp_path) -> None:
    assert "not a folder of keys" in refused("show", tmp_path)
    (tmp_path / "x").write_text("hello")
    assert "cannot show this file" in refused("show", tmp_path / "x")
    (tmp_path / "y").write_text("{}")
    assert "not a signature" in refused("show", tmp_path / "y")


@pytest.mark.parametrize("family", ["vit", "bert"])
def test_check_takes_a_hugging_face_folder(tmp_path, family) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    if family == "vit":
        config = transformers.ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=1)
        model = transformers.ViTForImageClassification(config)
    else:
        config = transformers.BertConfig(**sizes, vocab_size=50, max_position_embeddings=16)
        model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path / family)
    result = call("check", tmp_path / family, "--tokens", 4, "--json", tmp_path / "x.json")
    assert result.exit_code in (0, 1), result.output
    for row in json.loads((tmp_path / "x.json").read_text())["obstacles"]:
        assert "torch.export cannot trace" not in row["what"], row


def test_a_folder_without_a_model_is_a_clear_error(tmp_path) -> None:
    assert "cannot load a model from this folder" in refused("check", tmp_path)
