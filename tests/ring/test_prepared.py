"""Fast runs against the reference, bit for bit: chains, products, sums, in every carrier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_models import model, random_graph

from cipherformer import _native as native
from cipherformer.backends import fixed, pairs, products, tape
from cipherformer.backends.integers import Carrier
from cipherformer.backends.prepared import Prepared
from cipherformer.backends.products import known
from cipherformer.backends.units import units
from cipherformer.errors import LimitError
from cipherformer.passes.placement import Placement
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget, Truncation

few = settings(max_examples=40, deadline=None, derandomize=True)


def random_integers(bits: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Of all sizes up to `bits`, both signs, with the extremes among them."""
    rng, count = np.random.default_rng(seed), int(np.prod(shape))
    value = np.array(
        [int.from_bytes(rng.bytes(16), "little") % 2 ** int(rng.integers(1, bits + 1)) for _ in range(count)],
        dtype=object,
    )
    value *= rng.choice([-1, 1], size=count).astype(object)
    value[0] = 2**bits - 1
    value[-1] = -(2**bits) + 1
    return value.reshape(shape)


def as_objects(array: np.ndarray) -> np.ndarray:
    if pairs.is_pairs(array):
        return pairs.to_objects(array)
    return np.vectorize(int, otypes=[object])(array)


def stored(value: np.ndarray, bits: int, wider: int = 0) -> np.ndarray:
    """In the narrowest arrays that hold so many bits, or in wider ones."""
    kinds = [k for k, most in (("float", 53), ("int", 63), ("pairs", 127)) if bits <= most]
    match kinds[min(wider, len(kinds) - 1)]:
        case "float":
            return value.astype(np.float64)
        case "int":
            return value.astype(np.int64)
        case _:
            return pairs.to_pairs(value)


@few
@given(bits=st.integers(1, 126), shift=st.integers(0, 127), seed=st.integers(0, 10**6))
def test_pairs_are_integers_modulo_2_128(bits: int, shift: int, seed: int):
    value = random_integers(bits, (3, 5), seed)
    part = random_integers(62, (3, 5), seed + 1)
    total = pairs.to_pairs(value)
    np.testing.assert_array_equal(pairs.to_objects(total), value)
    assert pairs.bit_length(total) == bits
    limbs = [limb.astype(object) << (32 * k) for k, limb in enumerate(pairs.limbs(total))]
    np.testing.assert_array_equal(sum(limbs), value)
    pairs.add_shifted(total, part.astype(np.int64), shift)
    wanted = (value + (part << shift) + 2**127) % 2**128 - 2**127
    np.testing.assert_array_equal(pairs.to_objects(total), wanted)


@few
@given(
    bits=st.tuples(st.integers(1, 110), st.integers(1, 110)),
    wider=st.integers(0, 2),
    inner=st.integers(1, 40),
    carrier=st.sampled_from(Carrier),
    seed=st.integers(0, 10**6),
)
def test_products_by_limbs_are_exact(
    bits: tuple[int, int], wider: int, inner: int, carrier: Carrier, seed: int
):
    a, b = random_integers(bits[0], (3, inner), seed), random_integers(bits[1], (inner, 4), seed + 1)
    wanted = a @ b
    left, right = (known(stored(v, n, wider)) for v, n in zip((a, b), bits, strict=True))
    weight = int(np.abs(b).sum(axis=0).max())
    got = products.product(np.matmul, left, right, inner, weight, carrier)
    if got is None:
        assert left.bound * weight >= 2**126
        return
    np.testing.assert_array_equal(as_objects(got.array), wanted)
    assert int(np.abs(wanted).max()) <= got.bound
    assert got.bound.bit_length() == int(np.abs(wanted).max()).bit_length()


def test_a_bound_that_fails_does_not_mean_that_words_do():
    """Random signs: the proven bound passes 2^63, the estimate shows that the result stays below."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-(2**38), 2**38, size=(4, 400)), rng.integers(-(2**18), 2**18, size=(400, 5))
    got = products.product(np.matmul, known(a), known(b), 400, 400 * 2**18, Carrier.FLOAT64)
    assert got is not None
    np.testing.assert_array_equal(as_objects(got.array), a.astype(object) @ b.astype(object))


@few
@given(bits=st.integers(1, 120), wider=st.integers(0, 2), seed=st.integers(0, 10**6), keep=st.booleans())
def test_sums_are_exact(bits: int, wider: int, seed: int, keep: bool):
    value = random_integers(bits, (4, 9, 5), seed)
    got = products.total(known(stored(value, bits, wider)), (1, 2), keep, Carrier.FLOAT64)
    wanted = value.sum(axis=(1, 2), keepdims=keep)
    assert got is not None
    np.testing.assert_array_equal(as_objects(got.array), wanted)


OPS = {3: lambda a, b: a + b, 4: lambda a, b: a - b, 5: lambda a, b: a * b}


@few
@given(
    op=st.integers(3, 8),
    bits=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    shift=st.integers(1, 70),
    kernels=st.sampled_from(["portable", "auto"]),
    seed=st.integers(0, 10**6),
)
def test_native_operations_are_exact_or_say_that_they_do_not_fit(
    op: int, bits: tuple[int, int], shift: int, kernels: str, seed: int
):
    shape = (3, 367)
    a, b = (random_integers(n, shape, seed + i) for i, n in enumerate(bits))
    key = tape.key(seed, "value")
    offset = tape.draw(key, shift, shape).astype(object)
    wanted = {
        6: lambda: a << shift,
        7: lambda: (a + (1 << (shift - 1))) >> shift,
        8: lambda: (a + offset) >> shift,
    }.get(op, lambda: OPS[op](a, b))()
    size = int(np.abs(wanted).max()).bit_length()
    code = [(1, 0, 0, 0, 0), (1, 1, 1, 0, 0), (op, 2, 0, 1 if op < 6 else shift, key), (2, 0, 2, 0, 0)]
    program = native.FixedProgram(code, [], [], 2, 1, threads=2, kernels=kernels)
    held = [stored(v, n) for v, n in zip((a, b), bits, strict=True)]
    ran = []
    for carrier, kind in enumerate((np.dtype(np.float64), np.dtype(np.int64), pairs.PAIR)):
        out = np.empty(shape, kind)
        fits, sizes, _ = program.run(carrier, shape, held, [out])
        if fits:
            np.testing.assert_array_equal(as_objects(out), wanted)
            assert sizes[2] == size
        ran.append(fits)
    assert ran[2]
    most = max(*bits, size)
    assert ran[1] == (most <= 63 - (op == 7 and bits[0] > 62)) or (op in (7, 8) and shift > 62)
    assert ran[0] == (most <= 53) or (op in (7, 8) and shift > 53)


@pytest.mark.parametrize("count", [1, 7, 60])
def test_native_look_ups_equal_numpy(count: int):
    rng = np.random.default_rng(count)
    x = rng.integers(-1000, 1000, size=(5, 130))
    breaks = np.sort(rng.integers(-900, 900, size=count))
    table = rng.integers(-(2**40), 2**40, size=count + 1)
    words = [[(int(v) >> 64, int(v) % 2**64) for v in row] for row in (breaks, table)]
    code = [(1, 0, 0, 0, 0), (9, 0, 0, 0, 0), (10, 1, 0, 1, 0), (2, 0, 1, 0, 0)]
    for kernels in ("portable", "auto"):
        program = native.FixedProgram(code, [], words, 1, 1, kernels=kernels)
        for carrier in range(3):
            out = np.empty(x.shape, np.int64)
            assert program.run(carrier, x.shape, [x], [out])[0]
            np.testing.assert_array_equal(out, table[np.searchsorted(breaks, x, side="right")])


@pytest.mark.parametrize(
    "code, what",
    [
        ([(3, 0, 0, 1, 0)], "unwritten register"),
        ([(1, 0, 3, 0, 0)], "unknown input"),
        ([(1, 0, 0, 0, 0), (7, 1, 0, 0, 0)], "a shift"),
        ([(10, 1, 0, 0, 0)], "unknown table"),
        ([(1, 9999, 0, 0, 0)], "register outside"),
        ([(99, 0, 0, 0, 0)], "unknown op"),
    ],
)
def test_native_programs_that_do_not_fit_are_refused(code: list[tuple[int, ...]], what: str):
    with pytest.raises(ValueError, match=what):
        native.FixedProgram(code, [], [], 1, 1)


def test_native_runs_refuse_other_arrays():
    program = native.FixedProgram([(1, 0, 0, 0, 0), (2, 0, 0, 0, 0)], [], [], 1, 1)
    good = np.zeros((2, 3))
    for inputs, outputs in (([good.astype(np.float32)], [good]), ([good], [good.T]), ([], [good])):
        with pytest.raises(ValueError, match="fixed-point program"):
            program.run(0, (2, 3), inputs, outputs)


def assert_equal_runs(placement: Placement, sample: dict[str, np.ndarray], wrap: bool = False) -> None:
    wanted = fixed.run(placement, sample, keep=True, seed=3, wrap=wrap)
    secret = {n.name for n in placement.graph.nodes if n.type.secret}
    for carrier in Carrier:
        got = Prepared(placement, keep=True, carrier=carrier, threads=2).run(sample, seed=3, wrap=wrap)
        assert set(got.values) >= secret
        for name in secret:
            np.testing.assert_array_equal(got.values[name], wanted.values[name], err_msg=name)
        assert got.headroom == wanted.headroom
        assert sorted(got.overflows) == sorted(wanted.overflows)
        lean = Prepared(placement, carrier=carrier)
        for _ in range(2):  # the second run starts in the carriers that the first one found
            got = lean.run(sample, seed=3, wrap=wrap)
            assert list(got.values) == list(placement.graph.outputs) or len(placement.graph.outputs) > 1
            for name in placement.graph.outputs:
                np.testing.assert_array_equal(got.values[name], wanted.values[name])
        assert got.headroom == wanted.headroom


@pytest.mark.parametrize("width, frac_bits", [(54, 12), (64, 16), (128, 20)])
@pytest.mark.parametrize("truncation", Truncation)
@pytest.mark.parametrize("name", ["attention", "convolutions", "functions"])
def test_fast_runs_equal_the_reference(name: str, truncation: Truncation, width: int, frac_bits: int):
    graph, sample = model(name)
    placement = place(graph, RingTarget(width, frac_bits, 1, truncation), "lazy")
    assert_equal_runs(placement, sample)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    width=st.sampled_from([56, 64, 100, 128]),
    truncation=st.sampled_from(Truncation),
    policy=st.sampled_from(["every", "lazy", "hoisted"]),
)
def test_fast_runs_of_random_graphs_equal_the_reference(
    seed: int, width: int, truncation: Truncation, policy: str
):
    graph, sample = random_graph(seed)
    try:
        placement = place(graph, RingTarget(width, 14, 1, truncation), policy)
    except LimitError:
        return
    assert_equal_runs(placement, sample)


def test_values_beyond_calibration_widen_their_carrier_or_overflow_as_the_reference_does():
    graph, sample = model("functions")
    placement = place(graph, RingTarget(64, 16, 8), "every")
    prepared = Prepared(placement)
    prepared.run(sample)
    for factor in (4.0, 64.0):
        larger = {"x": sample["x"] * factor}
        try:
            wanted = fixed.run(placement, larger).values
        except LimitError as error:
            with pytest.raises(LimitError) as got:
                prepared.run(larger)
            assert (got.value.what, got.value.fix) == (error.what, error.fix)
            assert_equal_runs(placement, larger, wrap=True)
        else:
            for name, value in prepared.run(larger).values.items():
                np.testing.assert_array_equal(value, wanted[name])


@pytest.mark.parametrize("seed", range(20))
def test_units_can_run_in_their_order(seed: int):
    graph, _ = random_graph(seed)
    placed = place(graph, RingTarget(128, 14, 1), "lazy").graph
    done = {n.name for n in placed.nodes if n.op in ("constant", "input")}
    for unit in units(placed):
        inside = {n.name for n in unit.nodes}
        for node in unit.nodes:
            assert set(node.inputs) <= done | inside
        done |= inside
    assert done == {n.name for n in placed.nodes}


def test_a_softmax_is_few_chains():
    graph, _ = model("functions")
    placed = place(graph, RingTarget(64, 16, 1), "every").graph
    assert len(units(placed)) < len(placed.nodes) / 3


@few
@given(bits=st.integers(1, 127), seed=st.integers(0, 1000))
def test_the_tape_is_uniform(bits: int, seed: int):
    drawn = tape.draw(tape.key(seed, "x"), bits, (50, 40))
    assert all(0 <= int(v) < 2**bits for v in drawn.ravel())
    mean = sum(map(int, drawn.ravel())) / drawn.size / 2**bits
    assert abs(mean + 0.5 / 2**bits - 0.5) < 0.04
    np.testing.assert_array_equal(drawn, tape.draw(tape.key(seed, "x"), bits, (50, 40)))
    other = tape.draw(tape.key(seed, "y"), bits, (50, 40))
    assert np.any(drawn != other)
