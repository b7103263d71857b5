"""What a party sees is uniform, no mask serves twice, and a program that would break either is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import attention_graph, samples

from cipherformer.backends.mpc2 import prg
from cipherformer.backends.mpc2.build import Built, build
from cipherformer.backends.mpc2.dealer import Seeds, material
from cipherformer.backends.mpc2.insecure_local import insecure_run
from cipherformer.backends.mpc2.prg import fresh_seed
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program
from cipherformer.backends.mpc2.protocol import MASK_SLOT
from cipherformer.backends.mpc2.protocols import PROTOCOLS, sent_bytes
from cipherformer.backends.mpc2.ring import unpacked
from cipherformer.backends.mpc2.verify import verify
from cipherformer.errors import FormatError
from cipherformer.graph.rewrite import GraphBuilder

RUNS, MATERIALS = 48, 24
FAR = 5.5
"""Standard deviations: of about 10,000 bits looked at, none is this far off by chance once in 1,000 runs."""


@pytest.fixture(scope="module", params=["masked", "additive"])
def model(request: pytest.FixtureRequest) -> Built:
    """Every protocol: products of both kinds, functions, comparisons of both depths, extensions."""
    rng = np.random.default_rng(0)
    g = GraphBuilder("all")
    x = g.input("x", (1, 4))
    h = g.emit("linear", x, g.constant(rng.normal(size=(4, 4))), g.constant(rng.normal(size=4)))
    h = g.emit("softmax", h, dim=1)
    h = g.emit("add", h, g.emit("gelu", g.emit("mul", h, x), approximate="none"))
    big = g.emit("relu", g.emit("mul", h, g.constant(2.0**20)))
    inputs = [{"x": rng.uniform(-1, 1, size=(1, 4))} for _ in range(4)]
    return build(g.finish(h, big), inputs, protocol=request.param)


def openings(program: Program, received: dict[int, bytes], sender: int) -> dict[str, list[np.ndarray]]:
    """What a party received, by step."""
    out: dict[str, list[np.ndarray]] = {}
    for turn, steps in program.rounds():
        data, start = received.get(turn, b""), 0
        for step in steps:
            if not sent_bytes(step, program, sender):
                continue
            for slot in PROTOCOLS[step.op].opened(step, program):
                out.setdefault(step.name, []).append(
                    unpacked(data[start : start + slot.bytes], slot.shape, slot.width)
                )
                start += slot.bytes
    return out


def test_openings_and_material_are_uniform(model: Built):
    """Bit by bit, over many runs with one input: each is set in half of them, whatever the values are."""
    program = model.compiled.program
    counts: dict[tuple[str, int, int], np.ndarray] = {}
    sample = {"x": np.array([[0.5, -0.25, 0.125, 0.99]])}
    widths = {}
    for _ in range(RUNS):
        run = insecure_run(model.compiled, sample, seeds=Seeds(fresh_seed(), fresh_seed()))
        for me, link in enumerate(run.links):
            for name, arrays in openings(program, link.received, SERVER + CLIENT - me).items():
                step = program.by_name()[name]
                for i, slot in enumerate(PROTOCOLS[step.op].opened(step, program)):
                    places = [(arrays[i] >> np.uint64(b)) & np.uint64(1) for b in range(slot.width)]
                    found = np.array([int(place.sum()) for place in places])
                    counts[name, me, i] = counts.get((name, me, i), 0) + found
                    widths[name, me, i] = arrays[i].size
    kinds = {"input", "compare", "merge", "bit"}
    if program.of("reveal"):
        kinds |= {"product", "weighted", "extend", "fourier", "lookup", "gate", "reveal"}
    else:
        kinds |= {"open", "shares.reveal"}
    assert {program.by_name()[name].op for name, _, _ in counts} == kinds
    for key, bits in counts.items():
        trials = RUNS * widths[key]
        assert np.all(np.abs(bits - trials / 2) <= FAR * np.sqrt(trials / 4)), key


def test_the_server_s_material_is_uniform(model: Built):
    program = model.compiled.program
    steps = [step for step in program.steps if step.op != "weight"]
    ones: dict[tuple[str, int], np.ndarray] = {}
    for i in range(MATERIALS):
        seeds = Seeds(fresh_seed(), fresh_seed())
        for step, data in zip(steps, material(program, seeds, bytes([i])), strict=True):
            start = 0
            for j, slot in enumerate(PROTOCOLS[step.op].dealt(step, program)):
                value = unpacked(data[start : start + slot.bytes], slot.shape, slot.width)
                start += slot.bytes
                places = [(value >> np.uint64(b)) & np.uint64(1) for b in range(slot.width)]
                ones[step.name, j] = ones.get((step.name, j), 0) + np.array([int(p.sum()) for p in places])
                trials = MATERIALS * value.size
                if i == MATERIALS - 1:
                    assert np.all(np.abs(ones[step.name, j] - trials / 2) <= FAR * np.sqrt(trials / 4)), step
    assert len(ones) > 40


def test_no_mask_serves_twice(model: Built, monkeypatch: pytest.MonkeyPatch):
    """Over two queries: a party draws a step's mask from one place; no two steps or queries share one."""
    program = model.compiled.program
    draw = prg.Stream.draw
    seen: dict[bytes, tuple[bytes, int, int]] = {}

    def spy(self: prg.Stream, step: int, slot: int, shape: tuple[int, ...], width: int) -> np.ndarray:
        value = draw(self, step, slot, shape, width)
        if slot == MASK_SLOT and value.size * width >= 128:
            key = (self._key, step, slot)
            assert seen.setdefault(value.tobytes(), key) == key
        return value

    monkeypatch.setattr(prg.Stream, "draw", spy)
    seeds = Seeds(fresh_seed(), fresh_seed())
    for i in range(2):
        insecure_run(model.compiled, {"x": np.zeros((1, 4))}, seeds=seeds, version=bytes([i]))
    kinds = ("product", "weighted", "extend", "fourier", "lookup", "gate", "open")
    opened = [s for s in program.steps if s.op in kinds]
    big = [s for s in opened if np.prod(s.shape) * s.width >= 128]
    assert len(big) > 5 and len(seen) >= 2 * 2 * len(big)


def test_streams_are_those_of_their_place():
    stream = prg.Stream(bytes(32), b"v")
    draws = [stream.draw(step, slot, (4,), 64).tobytes() for step in range(3) for slot in (0, 1, 1000)]
    others = [
        prg.Stream(bytes(32), b"w").draw(0, 0, (4,), 64).tobytes(),
        prg.Stream(b"1" * 32, b"v").draw(0, 0, (4,), 64).tobytes(),
    ]
    assert len({*draws, *others}) == 11
    assert np.array_equal(stream.draw(5, 1, (100,), 64)[:10], stream.draw(5, 1, (10,), 64))


def test_programs_on_shares_are_verified():
    program = build(attention_graph(4, 8, 2), samples((1, 4, 3)), protocol="additive").compiled.program
    steps = list(program.steps)

    def broken(kind: str, **changes: object) -> Program:
        index = next(i for i, s in enumerate(steps) if s.op == kind)
        return replace(program, steps=(*steps[:index], replace(steps[index], **changes), *steps[index + 1 :]))

    verify(program)
    opened = next(s for s in steps if s.op == "open")
    for wrong in (
        broken("shares.trunc", inputs=opened.inputs),  # shares where a wire is read
        broken("shares.trunc", attrs={"bits": 63}),
        broken("shares.reveal", inputs=(opened.name,)),  # the other way round
        broken("open", width=65),
        broken("shares.product", op="product"),
        broken("shares.add", width=32),
    ):
        with pytest.raises(FormatError):
            verify(wrong)


def test_programs_are_verified():
    program = build(attention_graph(4, 8, 2), samples((1, 4, 3))).compiled.program
    steps = list(program.steps)

    def broken(index: int, **changes: object) -> Program:
        return replace(program, steps=(*steps[:index], replace(steps[index], **changes), *steps[index + 1 :]))

    verify(program)
    product = next(i for i, s in enumerate(steps) if s.op == "product")
    extend = next(i for i, s in enumerate(steps) if s.op == "extend")
    trunc = next(i for i, s in enumerate(steps) if s.op == "trunc")
    for wrong in (
        broken(product, number=steps[product].number - 1),
        broken(product, name=steps[product - 1].name),
        broken(product, width=64 if steps[product].width < 64 else 65),
        broken(product, inputs=(steps[-1].name, steps[-1].name)),
        broken(product, round=steps[product].round - 1),
        broken(product, op="reveal"),
        broken(extend, attrs={"narrow": steps[extend].attrs["narrow"] - 1}),
        broken(trunc, attrs={"bits": 0}),
        broken(trunc, op="anything"),
        replace(program, outputs=(steps[product].name,)),
        replace(program, outputs=()),
    ):
        with pytest.raises(FormatError):
            verify(wrong)
