"""The demonstration's processes and record, with the small model in place of the trained one."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from tiny import samples, secure_plan

from cipherformer.cli import main
from cipherformer.demo.processes import client_process, server_process
from cipherformer.demo.run import DemoOptions, _ask, _record
from cipherformer.errors import ProtocolError
from cipherformer.report.schema import read, write
from cipherformer.serve.address import Address


@dataclass
class FakeTrained:
    accuracy: float


def test_two_processes_make_a_record(tmp_path) -> None:
    plan = secure_plan()
    options = DemoOptions(out=tmp_path, images=3, threads=1)
    plan.save(tmp_path / "plan")
    plan.signature.save(tmp_path / "plan" / "signature.json")
    work = tmp_path / "w"
    work.mkdir()
    images, labels = samples(3), np.array([2, 2, 0])
    keygen, asked = _ask(plan, images, options, work, Console(quiet=True))
    record = _record(
        plan, images, labels, FakeTrained(0.98), FakeTrained(0.97), keygen, asked, options, start=0.0
    )
    write(tmp_path / "demo.json", record)
    assert read(tmp_path / "demo.json") == record
    assert record.agreement == 1.0 and 0 < record.max_logit_error < 1e-5 and record.precision_bits > 15
    assert record.accuracy_private == 0.97 and record.accuracy_baseline == 0.98
    assert record.rms_logit_error < 4 * plan.predicted_rms_error * 4
    assert [item["label"] for item in record.images] == [2, 2, 0]
    assert 0 < record.seconds_server_per_image < record.seconds_per_image
    assert record.bytes_up > 1000 and record.key_bytes > 10000
    assert sum(item["seconds"] for item in record.breakdown) <= record.seconds_server_per_image
    shown = CliRunner().invoke(
        main, ["report", str(tmp_path / "demo.json"), "--plot", str(tmp_path / "b.png")]
    )
    assert shown.exit_code == 0, shown.output
    assert "Encrypted images" in shown.output and (tmp_path / "b.png").stat().st_size > 5000
    text = CliRunner().invoke(main, ["show", str(tmp_path / "demo.json"), "--json", "-"])
    assert json.loads(text.stdout)["agreement"] == 1.0


def test_a_server_that_does_not_start_is_a_clear_error(tmp_path) -> None:
    with (
        pytest.raises(ProtocolError, match="did not start"),
        server_process(tmp_path / "nothing", tmp_path, Address(path=str(tmp_path / "s")), threads=1),
    ):
        pass


def test_a_client_that_fails_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ProtocolError, match="ended with code 2"):
        client_process(["keygen", tmp_path, "-o", tmp_path / "keys"], tmp_path / "x.json")
