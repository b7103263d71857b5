"""The torch carrier against the reference, bit for bit, on the CPU; on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_models import model, random_graph

from cipherformer.backends import fixed
from cipherformer.backends.integers import Carrier
from cipherformer.errors import LimitError
from cipherformer.passes.placement import Placement
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget, Truncation

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def assert_equal_runs(placement: Placement, sample: dict[str, np.ndarray]) -> None:
    from cipherformer.backends.fixed_torch import DevicePrepared

    wanted = fixed.run(placement, sample, keep=True, seed=3)
    secret = [n.name for n in placement.graph.nodes if n.type.secret]
    for device in DEVICES:
        for carrier in (Carrier.FLOAT64, Carrier.INT64):
            got = DevicePrepared(placement, device=device, keep=secret, carrier=carrier).run(sample, seed=3)
            for name in secret:
                np.testing.assert_array_equal(got.values[name], wanted.values[name], err_msg=name)
            assert got.headroom == wanted.headroom


@pytest.mark.parametrize("truncation", Truncation)
@pytest.mark.parametrize("name", ["attention", "convolutions", "functions"])
def test_runs_equal_the_reference(name: str, truncation: Truncation):
    graph, sample = model(name)
    assert_equal_runs(place(graph, RingTarget(60, 16, 1, truncation), "lazy"), sample)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), width=st.sampled_from([48, 56, 62]))
def test_runs_of_random_graphs_equal_the_reference(seed: int, width: int):
    graph, sample = random_graph(seed)
    try:
        placement = place(graph, RingTarget(width, 12, 1), "lazy")
    except LimitError:
        return
    assert_equal_runs(placement, sample)


def test_values_beyond_calibration_are_exact_or_refused():
    from cipherformer.backends.fixed_torch import DevicePrepared

    graph, sample = model("functions")
    placement = place(graph, RingTarget(60, 14, 6), "every")
    prepared = DevicePrepared(placement)
    for factor in (1.0, 3.0, 2000.0):
        larger = {"x": sample["x"] * factor}
        try:
            wanted = fixed.run(placement, larger).values
        except LimitError:
            with pytest.raises(LimitError):
                prepared.run(larger)
        else:
            for name, value in prepared.run(larger).values.items():
                np.testing.assert_array_equal(value, wanted[name])


def test_rings_beyond_words_are_refused():
    from cipherformer.backends.fixed_torch import DevicePrepared

    graph, _ = model("functions")
    with pytest.raises(LimitError, match="more than 63 bits"):
        DevicePrepared(place(graph, RingTarget(128, 20, 1), "lazy"))
