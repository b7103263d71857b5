"""A plan with refreshes between two processes: its keys are made, sent, stored, and enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from small_models import deep_perceptron, samples
from tiny import ServerProcess, run_json

from cipherformer.backends import ckks_sim
from cipherformer.compiler import Options, compile_graph
from cipherformer.serve.address import Address
from cipherformer.serve.keys import load
from cipherformer.targets.bootstrap import bootstrap_set


def test_a_client_process_gets_answers_from_a_refreshed_plan(tmp_path):
    bootstrap = replace(bootstrap_set("insecure-n11"), name="insecure-n10", log_n=10, levels_left=5)
    data = samples((1, 8))
    plan = compile_graph(deep_perceptron(5), data, Options(bootstrap=bootstrap))
    assert plan.summary()["bootstraps"] >= 1
    folder = plan.save(tmp_path / "plan")
    plan.signature.save(folder / "signature.json")
    inputs = np.concatenate([x["x"] for x in data[:2]])
    np.save(tmp_path / "inputs.npy", inputs)
    run_json(tmp_path / "keys.json", "keygen", folder, "-o", tmp_path / "keys", "--insecure")
    names = {entry.name for entry in load(tmp_path / "keys").manifest.entries}
    assert names == set(plan.signature.keys) >= {"conjugate", "encapsulate", "decapsulate", "relinearise"}
    server = ServerProcess(folder, tmp_path, Address(path=str(tmp_path / "socket")))
    try:
        words = ("query", tmp_path / "keys", "-c", server.address, "-i", tmp_path / "inputs.npy")
        record = run_json(tmp_path / "answers.json", *words, "-o", tmp_path / "out.npy")
    finally:
        assert server.stop() == 0, server.errors
    expected = np.concatenate([ckks_sim.reference(plan, x) for x in data[:2]])
    assert np.abs(np.load(tmp_path / "out.npy") - expected).max() < 8 * plan.predicted_rms_error
    assert record["plan"] == plan.fingerprint
