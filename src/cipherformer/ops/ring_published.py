"""Published sets of approximations for rings, by name, with their authors' constants.

They are here to be compared with the defaults: each is good on the range that `STATED` gives and nowhere
else, and its error there is recomputed by a test. Comparisons, where a set has them, are exact. Where the
published form leaks or diverges it is mended, and `FIXES` says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, factorial, floor, log, log2, pi, sqrt
from types import MappingProxyType

import numpy as np

from cipherformer.approx import piecewise
from cipherformer.ops.ring_functions import PRECISION, horner, interval, relu, result_bits
from cipherformer.ops.spec import Attrs, Builder, ErrorBudget, Lower, Lowering, integer


def _exp_limit(build: Builder, x: str, iterations: int) -> str:
    """(1 + x / 2^n)^(2^n): n squarings."""
    y = build.emit("mul", x, build.constant(2.0**-iterations))
    y = build.emit("add", y, build.constant(1.0))
    for _ in range(iterations):
        y = build.emit("mul", y, y)
    return y


def _affine(build: Builder, x: str, scale: float, shift: float) -> str:
    return build.emit("add", build.emit("mul", x, build.constant(scale)), build.constant(shift))


def crypten_exp(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """(1 + x / 2^8)^(2^8)."""
    return _exp_limit(build, inputs[0], 8)


def _brought(build: Builder, x: str, least: float, most: float, base: float) -> tuple[str, int]:
    """x base^-k with the smallest k for which its calibrated range ends below `most`, and k: 0 if the range
    is within [least, most] already.
    """
    low, high = interval(build, x)
    k = ceil(log(high / most, base)) if low < least or high > most else 0
    precise = build.emit("keep", x, frac_bits=max(0, PRECISION - floor(log2(max(low, 2.0**-16)))))
    return build.emit("mul", precise, build.constant(base**-k)), k


def crypten_reciprocal(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y0 = 3 exp(1 - 2x) + 0.003, ten steps y <- 2 y - x y^2."""
    x, k = _brought(build, inputs[0], 0.01, 250.0, 2.0)
    start = _exp_limit(build, _affine(build, x, -2.0, 1.0), 8)
    y = _newton_reciprocal(build, x, _affine(build, start, 3.0, 0.003), 10)
    return build.emit("mul", y, build.constant(2.0**-k))


def _newton_reciprocal(build: Builder, x: str, y: str, steps: int) -> str:
    for _ in range(steps):
        square = build.emit("mul", y, y)
        y = build.emit("sub", build.emit("mul", y, build.constant(2.0)), build.emit("mul", x, square))
    return y


def crypten_inverse_sqrt(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y0 = 2.2 exp(-(x / 2 + 0.2)) + 0.2 - x / 1024, three steps y <- y (3 - x y^2) / 2."""
    x, k = _brought(build, inputs[0], 0.1, 150.0, 4.0)
    y = _affine(build, _exp_limit(build, _affine(build, x, -0.5, -0.2), 8), 2.2, 0.2)
    y = build.emit("sub", y, build.emit("mul", x, build.constant(2.0**-10)))
    for _ in range(3):
        rest = build.emit("sub", build.constant(3.0), build.emit("mul", x, build.emit("mul", y, y)))
        y = build.emit("mul", build.emit("mul", y, rest), build.constant(0.5))
    return build.emit("mul", y, build.constant(2.0**-k))


def crypten_log(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y0 = x / 120 - 20 exp(-2x - 1) + 3, two Householder steps of order 8 on h = 1 - x exp(-y)."""
    x = inputs[0]
    start = _affine(build, _exp_limit(build, _affine(build, x, -2.0, -1.0), 8), -20.0, 3.0)
    y = build.emit("add", build.emit("mul", x, build.constant(1.0 / 120.0)), start)
    for _ in range(2):
        power = _exp_limit(build, build.emit("neg", y), 8)
        h = build.emit("sub", build.constant(1.0), build.emit("mul", x, power))
        series = build.constant(1.0 / 8.0)
        for k in range(7, 0, -1):
            series = build.emit("add", build.emit("mul", h, series), build.constant(1.0 / k))
        y = build.emit("sub", y, build.emit("mul", h, series))
    return y


def crypten_sigmoid(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """1 / (1 + exp(-|x|)) by three Newton steps from 0.75, mirrored for negative x."""
    x = inputs[0]
    sign = build.emit("select", x, breaks=(0.0,), table=(-1.0, 1.0))
    power = _exp_limit(build, build.emit("neg", build.emit("mul", x, sign)), 9)
    divisor = build.emit("add", power, build.constant(1.0))
    start = _affine(build, divisor, 0.0, 0.75)
    half = build.emit("sub", _newton_reciprocal(build, divisor, start, 3), build.constant(0.5))
    return build.emit("add", build.emit("mul", half, sign), build.constant(0.5))


def crypten_tanh(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """2 sigmoid(2x) - 1."""
    double = build.emit("mul", inputs[0], build.constant(2.0))
    return _affine(build, crypten_sigmoid(build, (double,), attrs, budget), 2.0, -1.0)


def crypten_silu(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """x sigmoid(x)."""
    return build.emit("mul", inputs[0], crypten_sigmoid(build, inputs, attrs, budget))


def crypten_erf(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """2 / sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)), n = 0..8, and past 1.8, where it diverges, the sign."""
    x, outside = _clipped(build, inputs[0], _ERF_END)
    square = build.emit("mul", x, x)
    term, total = x, x
    for n in range(1, 9):
        term = build.emit("mul", term, square)
        factor = (-1.0) ** n / (factorial(n) * (2 * n + 1))
        total = build.emit("add", total, build.emit("mul", term, build.constant(factor)))
    return build.emit("add", build.emit("mul", total, build.constant(2.0 / sqrt(pi))), outside)


_ERF_END = 1.8


def _clipped(build: Builder, x: str, end: float) -> tuple[str, str]:
    """x where |x| < end and 0 elsewhere, and what an erf adds there: its sign."""
    inside = build.emit("select", x, breaks=(-end, end), table=(0.0, 1.0, 0.0))
    outside = build.emit("select", x, breaks=(-end, end), table=(-1.0, 0.0, 1.0))
    return build.emit("mul", x, inside), outside


def _gelu_from_erf(build: Builder, x: str, erf: str) -> str:
    half = build.emit("mul", x, build.constant(0.5))
    return build.emit("add", half, build.emit("mul", half, erf))


def crypten_gelu(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """x / 2 (1 + erf(x / sqrt 2))."""
    scaled = build.emit("mul", inputs[0], build.constant(1.0 / sqrt(2.0)))
    return _gelu_from_erf(build, inputs[0], crypten_erf(build, (scaled,), attrs, budget))


SECFORMER_BETA = (1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029)
SHAFT_B = (-0.0818, -0.0809, -0.0424, -0.0176, -0.0079, -0.0043, -0.0026, -0.0017)


def _sines(build: Builder, x: str, period: float, coefficients: Sequence[float]) -> str:
    """sum_k b_k sin(2 pi k x / period): one opening of x modulo a power of two, to which x is scaled."""
    log_period = floor(log2(period))
    if period != 2.0**log_period:
        x = build.emit("mul", x, build.constant(2.0**log_period / period))
    zeros = (0.0,) * len(coefficients)
    return build.emit(
        "fourier", x, log_period=log_period, constant=0.0, cosines=zeros, sines=tuple(coefficients)
    )


def secformer_gelu(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """erf(z) = sum_k beta_k sin(k pi z / 10) for |z| <= 1.7 and its sign outside, z = x / sqrt 2."""
    x = inputs[0]
    z, outside = _clipped(build, build.emit("mul", x, build.constant(1.0 / sqrt(2.0))), 1.7)
    series = _sines(build, z, 20.0, SECFORMER_BETA)
    return _gelu_from_erf(build, x, build.emit("add", series, outside))


def secformer_reciprocal(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """Goldschmidt: q = x / eta, p = 1; m = 2 - q, p <- p m, q <- q m; p / eta, 13 steps."""
    eta = interval(build, inputs[0])[1]
    q = build.emit("mul", inputs[0], build.constant(1.0 / eta))
    p = ""
    for _ in range(13):
        m = _affine(build, q, -1.0, 2.0)
        p = build.emit("mul", p, m) if p else m
        q = build.emit("mul", q, m)
    out = build.emit("mul", p, build.constant(1.0 / eta))
    return build.emit("keep", out, frac_bits=result_bits(eta, -1.0))


def secformer_inverse_sqrt(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """Goldschmidt: q = x / eta, p = 1; m = (3 - q) / 2, p <- p m, q <- q m^2; p / sqrt(eta), 11 steps."""
    eta = interval(build, inputs[0])[1] / 2.0
    q = build.emit("mul", inputs[0], build.constant(1.0 / eta))
    p = ""
    for _ in range(11):
        m = _affine(build, q, -0.5, 1.5)
        p = build.emit("mul", p, m) if p else m
        q = build.emit("mul", q, build.emit("mul", m, m))
    return build.emit("mul", p, build.constant(1.0 / sqrt(eta)))


PUMA_GELU = piecewise.Piecewise(
    (-4.0, -1.95, 3.0),
    (0.0, 0.0, 0.0, 0.0),
    (
        (0.0,) * 7,
        (-0.505403120, -0.422265812, -0.118076130, -0.011034134, 0.0, 0.0, 0.0),
        (0.008526322, 0.5, 0.360329269, 0.0, -0.037688200, 0.0, 0.001806746),
        (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    error=0.02,
    target=0.02,
)


def puma_gelu(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """0, a cubic, a sextic and x, on four pieces."""
    return horner(build, inputs[0], PUMA_GELU)


def puma_exp(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """(1 + x / 2^5)^(2^5) for -14 <= x, and 0 below; for x <= 0, as a softmax has it."""
    inside = build.emit("select", inputs[0], breaks=(-14.0,), table=(0.0, 1.0))
    return build.emit("mul", _exp_limit(build, build.emit("mul", inputs[0], inside), 5), inside)


def shaft_gelu(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """relu(x) + sum_k b_k sin(k pi |x| / 4) for |x| < 4."""
    x = inputs[0]
    signed = build.emit("select", x, breaks=(-4.0, 0.0, 4.0), table=(0.0, -1.0, 1.0, 0.0))
    series = _sines(build, build.emit("mul", x, signed), 8.0, SHAFT_B)
    return build.emit("add", relu(build, inputs, attrs, budget), series)


def shaft_softmax(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """Clip to [-4, 12]; g = 1/L, 16 steps g <- g + (x/16 - <g, x/16>) g. Masked entries start at 0."""
    x, dim = inputs[0], integer(attrs, "dim")
    inside, low, high = (
        build.emit("select", x, breaks=(-4.0, 12.0), table=table)
        for table in ((0.0, 1.0, 0.0), (-4.0, 0.0, 0.0), (0.0, 0.0, 12.0))
    )
    clipped = build.emit("add", build.emit("mul", x, inside), build.emit("add", low, high))
    step = build.emit("mul", clipped, build.constant(1.0 / 16.0))
    g = _uniform(build, inputs, dim)
    for _ in range(16):
        mean = build.emit("sum", build.emit("mul", g, step), dims=(dim,), keepdim=True)
        g = build.emit("add", g, build.emit("mul", build.emit("sub", step, mean), g))
    return g


def _uniform(build: Builder, inputs: Sequence[str], dim: int) -> str:
    shape = build.type_of(inputs[0]).shape
    mask = build.value(inputs[1]) if len(inputs) == 2 else np.ones(shape)
    return build.constant(np.broadcast_to(mask / mask.sum(axis=dim, keepdims=True), shape))


SETS: Mapping[str, Mapping[str, Lower]] = MappingProxyType(
    {
        "crypten": {
            "exp": crypten_exp,
            "reciprocal": crypten_reciprocal,
            "inverse_sqrt": crypten_inverse_sqrt,
            "log": crypten_log,
            "sigmoid": crypten_sigmoid,
            "tanh": crypten_tanh,
            "silu": crypten_silu,
            "erf": crypten_erf,
            "gelu": crypten_gelu,
        },
        "secformer": {
            "gelu": secformer_gelu,
            "inverse_sqrt": secformer_inverse_sqrt,
            "reciprocal": secformer_reciprocal,
        },
        "puma": {"gelu": puma_gelu, "exp": puma_exp},
        "shaft": {"gelu": shaft_gelu, "softmax": shaft_softmax},
    }
)
"""Published sets: for each the ops it covers. What a set lacks takes the default lowering."""

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "crypten": "Knott et al., arXiv 2109.00984, appendix; CrypTen 0.4.1's defaults",
        "secformer": "Luo et al., arXiv 2401.00793, sections 3.2 and 3.3",
        "puma": "Dong et al., arXiv 2307.12533, equation 5",
        "shaft": "Kei and Chow, NDSS 2025",
    }
)


FIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "crypten": (
            "erf and GELU take the sign beyond 1.8, where the Taylor series diverges",
            "reciprocals and inverse square roots take their operand times a power of two, which brings"
            " its range into that of the iteration",
        ),
        "secformer": (
            "sines are opened modulo a power of two, to which the period of 20 is scaled: over the whole ring"
            " the argument leaks, and modulo 2 pi the released code computes another function",
            "divisions and inverse square roots are deflated by the calibrated range: the released division"
            " has no such factor, and a fixed one is right for one length",
        ),
        "puma": (),
        "shaft": ("sines are opened modulo their period of 8 alone, not over the whole ring",),
    }
)
"""What differs from the published functions. Of all sets, two-party runs replace what their engines do beside
functions: truncation of each share alone, which fails with probability |x| / 2^64, by an opening under a
dealt mask; and generators that are none for secrets by AES in counter mode.
"""


def lowerings(op: str) -> dict[str, Lowering]:
    """The published lowerings of an op: `ring.crypten` and so on."""
    return {
        f"ring.{name}": Lowering(entries[op], needs_range=True, source=SOURCES[name])
        for name, entries in SETS.items()
        if op in entries
    }


Stated = tuple[float, float, float, str]

STATED: Mapping[tuple[str, str], Stated] = MappingProxyType(
    {
        ("default", "exp"): (-16.0, 0.0, 3.1e-5, "absolute"),
        ("default", "reciprocal"): (1.0, 512.0, 7.6e-7, "relative"),
        ("default", "inverse_sqrt"): (1e-3, 1e3, 6e-8, "relative"),
        ("default", "log"): (0.01, 100.0, 2.0**-12, "absolute"),
        ("default", "sigmoid"): (-16.0, 16.0, 2.0**-12, "absolute"),
        ("default", "tanh"): (-8.0, 8.0, 2.0**-12, "absolute"),
        ("default", "silu"): (-16.0, 16.0, 2.0**-12, "absolute"),
        ("default", "erf"): (-8.0, 8.0, 2.0**-12, "absolute"),
        ("default", "gelu"): (-16.0, 16.0, 2.0**-12, "absolute"),
        ("default", "relu"): (-16.0, 16.0, 0.0, "absolute"),
        ("crypten", "exp"): (-8.0, 1.0, 5.3e-3, "absolute"),
        ("crypten", "reciprocal"): (0.01, 250.0, 4e-8, "relative"),
        ("crypten", "inverse_sqrt"): (0.1, 150.0, 5e-3, "relative"),
        ("crypten", "log"): (0.01, 250.0, 6e-2, "absolute"),
        ("crypten", "sigmoid"): (-16.0, 16.0, 2e-3, "absolute"),
        ("crypten", "tanh"): (-8.0, 8.0, 4e-3, "absolute"),
        ("crypten", "silu"): (-8.0, 8.0, 1.2e-3, "absolute"),
        ("crypten", "erf"): (-8.0, 8.0, 1.1e-2, "absolute"),
        ("crypten", "gelu"): (-16.0, 16.0, 1.4e-2, "absolute"),
        ("secformer", "gelu"): (-16.0, 16.0, 2e-2, "absolute"),
        ("secformer", "reciprocal"): (1.0, 512.0, 1.2e-7, "relative"),
        ("secformer", "inverse_sqrt"): (1.0, 4000.0, 1.8e-2, "relative"),
        ("puma", "gelu"): (-16.0, 16.0, 2e-2, "absolute"),
        ("puma", "exp"): (-16.0, 0.0, 8.6e-3, "absolute"),
        ("shaft", "gelu"): (-16.0, 16.0, 4.5e-3, "absolute"),
    }
)
"""(set, op) -> (low, high, largest error there, `absolute` or `relative`), in exact arithmetic."""
