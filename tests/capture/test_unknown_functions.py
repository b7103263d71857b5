"""Activations that no table knows: collected from the exported graph, fitted to a stated error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cipherformer.backends import exact, fixed
from cipherformer.capture import capture, check
from cipherformer.errors import LimitError
from cipherformer.graph import Graph
from cipherformer.graph.serial import from_dict, to_dict
from cipherformer.ops import ErrorBudget
from cipherformer.ops.program import breaks, evaluate, is_program
from cipherformer.ops.ring_functions import RING_BUDGET
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget

pytestmark = pytest.mark.torch


class Between(nn.Module):
    """A function between two linear layers, as models have it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.function, self.after = nn.Linear(8, 64), function, nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(4.0 * self.before(x)))


def hugging_face(name: str) -> nn.Module:
    from transformers.activations import ACT2FN

    return ACT2FN[name].float()


UNKNOWN: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "mish": nn.Mish,
    "squared relu": lambda: lambda x: torch.relu(x).square(),
    "xielu": lambda: hugging_face("xielu"),
    "quick gelu": lambda: hugging_face("quick_gelu"),
    "root of softplus": lambda: hugging_face("sqrtsoftplus"),
    "hard swish": nn.Hardswish,
    "elu": lambda: nn.ELU(alpha=0.7),
    "snake": lambda: lambda x: x + torch.sin(1.3 * x) ** 2 / 1.3,
    "softsign": nn.Softsign,
    "a mixture": lambda: lambda x: torch.tanh(x) * nn.functional.mish(x - 1.0) + torch.exp(-x * x),
    "clipped": lambda: lambda x: torch.clamp(x, -1.5, 2.0) * torch.sigmoid(x),
    "a condition": lambda: lambda x: torch.where((x > -1.0) & (x <= 2.0), x.abs(), torch.cos(x)),
}
QUICK = ("mish", "squared relu", "xielu", "a mixture", "a condition")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in UNKNOWN]
KNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "tanh-GELU": (lambda x: 0.5 * x * (1.0 + torch.tanh(0.79788456 * x * (1.0 + 0.044715 * x * x))), "gelu"),
    "erf-GELU": (lambda x: x * 0.5 * (1.0 + torch.erf(x / 1.4142135623730951)), "gelu"),
    "SiLU": (lambda x: x / (1.0 + torch.exp(-x)), "silu"),
    "Laplace": (lambda x: 0.5 * (1.0 + torch.erf((x - 0.7) / 0.4)), "erf"),
    "capped": (lambda x: 30.0 * torch.tanh(x / 30.0), "tanh"),
}


def captured(function: Callable[[Tensor], Tensor]) -> tuple[Graph, list[dict[str, np.ndarray]], np.ndarray]:
    """The graph, inputs by name, and torch's answers."""
    module = Between(function).eval()
    drawn = torch.randn(24, 1, 8, generator=torch.Generator().manual_seed(1))
    graph = capture(module, (drawn[0],))
    with torch.no_grad():
        wanted = torch.stack([module(x) for x in drawn]).double().numpy()
    (key,) = (node.name for node in graph.inputs)
    return graph, [{key: x.double().numpy()} for x in drawn], wanted


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_function_becomes_one_op_and_is_fitted_to_the_stated_error(name: str):
    graph, samples, wanted = captured(UNKNOWN[name]())
    assert [n.op for n in graph if n.op not in ("constant", "mul")] == [
        "input",
        "linear",
        "function",
        "linear",
    ]
    got = np.stack([exact.run(graph, s)[graph.outputs[0]] for s in samples])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert check(Between(UNKNOWN[name]()), (torch.zeros(1, 8),), target="ring") == []
    ring = to_ring(graph, samples)
    (node,) = (n for n in ring.reference if n.op == "function")
    for sample in samples:
        values = exact.run(ring.graph, sample)  # exact arithmetic: only the fit differs
        assert values.keys() == set(ring.graph.outputs)
    lowered = calibrate(ring.graph, samples)
    assert (
        _error(ring.reference, lowered, node.name, ring.names[node.name], samples) <= RING_BUDGET.activation
    )
    placement = place(ring.graph, RingTarget(64, 16, 1))
    run = np.stack([fixed.run(placement, s).values[placement.graph.outputs[0]] for s in samples])
    np.testing.assert_allclose(run, wanted, atol=4e-3)


def _error(
    reference: Graph, lowered: Graph, name: str, other: str, samples: list[dict[str, np.ndarray]]
) -> float:
    from cipherformer.graph.evaluate import evaluate as values_of

    pairs = [(values_of(reference, s, keep=True), values_of(lowered, s, keep=True)) for s in samples]
    return max(float(np.max(np.abs(a[name] - b[other]))) for a, b in pairs)


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_function_written_out_is_recognised(name: str):
    function, op = KNOWN[name]
    graph, samples, wanted = captured(function)
    assert {n.op for n in graph} - {"constant", "mul", "add", "sub", "input", "linear"} == {op}
    got = np.stack([exact.run(graph, s)[graph.outputs[0]] for s in samples])
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_unknown_function_has_a_polynomial_for_encryption():
    graph, samples, wanted = captured(nn.Mish())
    budget = ErrorBudget(activation=0.01, max_degree=63)
    lowered = approximate(calibrate(graph, samples), budget)
    assert [n.op for n in lowered].count("polynomial") == 1
    got = np.stack([exact.run(lowered, s)[lowered.outputs[0]] for s in samples])
    np.testing.assert_allclose(got, wanted, atol=0.05)


def test_a_jump_is_exact_in_a_ring_and_refused_by_polynomials():
    graph, samples, wanted = captured(lambda x: torch.where(x > 0.25, x + 3.0, -x))
    ring = to_ring(graph, samples)
    got = np.stack([exact.run(ring.graph, s)[ring.graph.outputs[0]] for s in samples])
    np.testing.assert_allclose(got, wanted, atol=2e-3)
    with pytest.raises(LimitError, match="degree above"):
        approximate(calibrate(graph, samples), ErrorBudget())


def test_a_jump_stands_at_its_integer():
    from cipherformer.graph.rewrite import GraphBuilder

    x = np.arange(-(2**11), 2**11 + 1) / 2.0**12  # 0.25 is one of them
    build = GraphBuilder("jump")
    program = (("gt", 0, 0.25), ("mul", 1, 3.0), ("add", 0, 2), ("lt", 0, 0.0), ("sub", 3, 4))
    graph = build.finish(build.emit("function", build.input("x", x.shape), program=program))
    placement = place(to_ring(graph, [{"x": x}]).graph, RingTarget(64, 16, 1))
    got = fixed.run(placement, {"x": x}).values[placement.graph.outputs[0]]
    np.testing.assert_allclose(got, x + 3.0 * (x > 0.25) - (x < 0.0), atol=2.0**-12)


def test_a_function_without_a_value_in_its_range_is_refused():
    graph, samples, _ = captured(lambda x: torch.log1p(x * x - 0.01) / torch.cos(x))
    holes, _, _ = captured(lambda x: torch.log10(x + 2.0))
    with pytest.raises(LimitError, match=r"changes too fast|more than 64 pieces|not finite") as error:
        to_ring(graph, samples)
    assert error.value.fix
    with np.errstate(all="ignore"), pytest.raises(Exception, match="not finite"):
        to_ring(holes, samples)


def test_values_that_others_read_are_not_swallowed():
    class Shared(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = nn.functional.mish(x)
            return y * 2.0, (y * y).sum(-1)

    x = torch.randn(1, 5)
    graph = capture(Shared(), (x,))
    assert [n.op for n in graph].count("function") == 2
    got = exact.run(graph, {graph.inputs[0].name: x.numpy()})
    for name, value in zip(graph.outputs, Shared()(x), strict=True):
        np.testing.assert_allclose(got[name], value.numpy(), atol=1e-6)


def test_a_program_survives_a_file_and_a_bad_one_does_not():
    graph, _, _ = captured(nn.Mish())
    data, arrays = to_dict(graph)
    again = from_dict(data, arrays)
    assert [n.attrs for n in again] == [n.attrs for n in graph]
    for bad in ((), ("exp", 0), (("exp", 1),), (("nothing", 0),), (("exp", 0, 0),), (("add", 0, True),)):
        assert not is_program(bad)


def test_breaks_are_the_first_floats_of_the_far_side():
    program = (("gt", 0, 0.0), ("ge", 0, 1.5), ("add", 1, 2), ("abs", 0), ("mul", 3, 4))
    found = breaks(program, -3.0, 3.0)
    assert found == (float(np.nextafter(0.0, 1.0)), 1.5)
    assert evaluate(program, np.array([0.0, 1.0, 1.5])).tolist() == [0.0, 1.0, 3.0]
