"""What parties keep outside of memory, and the products that they make of small weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import attention_graph, samples

from cipherformer.backends.mpc2 import narrow
from cipherformer.backends.mpc2.build import build
from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.ring import lowest
from cipherformer.backends.mpc2.store import Store
from cipherformer.serve.two_party import local
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.epoch import epoch_seed

few = settings(max_examples=40, deadline=None, derandomize=True)


@few
@given(
    rows=st.integers(1, 5),
    inputs=st.integers(1, 70),
    outputs=st.sampled_from([1, 3, 600]),
    width=st.integers(2, 64),
    bits=st.integers(1, 31),
    seed=st.integers(0, 1000),
)
def test_products_with_small_weights_are_exact(
    rows: int, inputs: int, outputs: int, width: int, bits: int, seed: int
):
    rng = np.random.default_rng(seed)
    x = lowest(rng.integers(0, 2**64, size=(1, rows, inputs), dtype=np.uint64), width)
    weight = rng.integers(-(2**bits), 2**bits, size=(outputs, inputs)).clip(-(2**31), 2**31 - 1)
    wanted = x @ weight.view(np.uint64).T
    found = narrow.linear(x, width, weight.astype(np.int32))
    largest = int(np.abs(weight).sum(axis=1).max())
    if found is None:
        assert narrow.limbs(width, largest)[1] > 3
    else:
        assert np.array_equal(lowest(found, width), lowest(wanted, width))


def test_small_weights_are_kept_in_32_bits():
    small = np.array([5, -7, 2**31 - 1], np.int64).view(np.uint64)
    large = np.array([2**31], np.uint64)
    assert narrow.narrowed(small).dtype == np.int32 and narrow.narrowed(large).dtype == np.uint64
    for value in (small, large):
        assert np.array_equal(narrow.widened(narrow.narrowed(value)), value)


def test_a_store_gives_back_what_it_was_given():
    with TemporaryFile() as file:
        for store in (Store(), Store(file), Store(file, memory_bytes=4)):
            store.put("a", b"123")
            store.put("empty", b"")
            store.put("b", b"45")
            assert (store.get("b"), store.get("a"), store.take("empty"), store.take("a")) == (
                b"45", b"123", b"", b"123",
            )  # fmt: skip
            assert "b" in store and "a" not in store
            with pytest.raises(KeyError):
                store.take("a")


def test_weights_are_opened_once_for_an_epoch(tmp_path: Path):
    """A second session opens nothing; a damaged file is opened anew; other weights have another seed."""
    data = samples((1, 4, 3))
    built = build(attention_graph(4, 8, 2), data)
    shared = tmp_path / "epochs"
    found, setup = [], []
    for i in range(3):
        if i == 2:
            (kept,) = (shared / "client").iterdir()
            kept.write_bytes(kept.read_bytes()[:-1] + b"?")
        work = tmp_path / str(i)
        run = local.run_locally(built.compiled, data[0], work, epochs=shared, limit_s=120.0)
        found.append(run.outputs[0])
        setup.append(run.reports["server"]["setup_bytes"])
    assert setup[0] > 0 and setup[1] == 0 and setup[2] == setup[0]
    assert np.max(np.abs(found[1] - found[0])) < 1e-3 and np.max(np.abs(found[2] - found[0])) < 1e-3
    config = Config.load(work / "server.json")
    chain = Chain((built.compiled.program,), {})
    assert (
        epoch_seed(config, chain, b"m") == epoch_seed(config, chain, b"m") != epoch_seed(config, chain, b"n")
    )
    (seed, *_) = (shared / "server").iterdir()
    assert seed.stat().st_mode & 0o777 == 0o600
