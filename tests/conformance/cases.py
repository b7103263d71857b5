"""A random, valid instance of every op in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.types import Attr

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """Operands and attributes of one node; the operands named in `public` are constants."""

    operands: tuple[NDArray[Any], ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    public: tuple[int, ...] = ()


def _size(rng: Rng, low: int = 1, high: int = 5) -> int:
    return int(rng.integers(low, high + 1))


def _shape(rng: Rng, rank: int | None = None) -> tuple[int, ...]:
    return tuple(_size(rng) for _ in range(_size(rng, 1, 4) if rank is None else rank))


def _broadcast_pair(rng: Rng) -> Case:
    shape = _shape(rng)
    other = tuple(1 if rng.random() < 0.3 else s for s in shape)[_size(rng, 0, len(shape)) :]
    pair = rng.normal(size=shape), rng.normal(size=other)
    return Case(pair if rng.random() < 0.5 else pair[::-1])


def _unary(**attrs: Attr) -> Callable[[Rng], Case]:
    return lambda rng: Case((rng.normal(size=_shape(rng)) * 2.0,), attrs)


def _positive(rng: Rng) -> Case:
    return Case((rng.uniform(0.3, 6.0, size=_shape(rng)),))


def _matmul(rng: Rng) -> Case:
    batch, m, k, n = _shape(rng, 2), _size(rng), _size(rng), _size(rng)
    shared = tuple(1 if rng.random() < 0.3 else b for b in batch)
    return Case((rng.normal(size=(*batch, m, k)), rng.normal(size=(*shared, k, n))))


def _linear(rng: Rng) -> Case:
    x, out = _shape(rng), _size(rng)
    bias = (rng.normal(size=out),) if rng.random() < 0.5 else ()
    return Case((rng.normal(size=x), rng.normal(size=(out, x[-1])), *bias), public=(1, 2)[: 1 + len(bias)])


def _conv2d(rng: Rng) -> Case:
    groups, kernel = _size(rng, 1, 2), (_size(rng, 1, 3), _size(rng, 1, 3))
    channels, out = groups * _size(rng, 1, 2), groups * _size(rng, 1, 3)
    attrs: dict[str, Attr] = {
        "stride": (_size(rng, 1, 2), _size(rng, 1, 2)),
        "padding": (_size(rng, 0, 1), _size(rng, 0, 1)),
        "dilation": (_size(rng, 1, 2), _size(rng, 1, 2)),
        "groups": groups,
    }
    x = rng.normal(size=(_size(rng, 1, 2), channels, _size(rng, 5, 8), _size(rng, 5, 8)))
    bias = (rng.normal(size=out),) if rng.random() < 0.5 else ()
    weight = rng.normal(size=(out, channels // groups, *kernel))
    return Case((x, weight, *bias), attrs, public=(1, 2)[: 1 + len(bias)])


def _pool(rng: Rng) -> Case:
    kernel = (_size(rng, 2, 3), _size(rng, 2, 3))
    attrs: dict[str, Attr] = {
        "kernel": kernel,
        "stride": (_size(rng, 1, 3), _size(rng, 1, 3)),
        "padding": (_size(rng, 0, 1), _size(rng, 0, 1)),
    }
    return Case((rng.normal(size=(1, _size(rng), _size(rng, 3, 7), _size(rng, 3, 7))),), attrs)


def _reshape(rng: Rng) -> Case:
    a, b, c = _size(rng), _size(rng), _size(rng)
    return Case((rng.normal(size=(a, b, c)),), {"shape": (a * b, 1, c)})


def _permute(rng: Rng) -> Case:
    shape = _shape(rng)
    return Case((rng.normal(size=shape),), {"dims": tuple(int(d) for d in rng.permutation(len(shape)))})


def _expand(rng: Rng) -> Case:
    shape = _shape(rng)
    small = tuple(1 if rng.random() < 0.5 else s for s in shape)
    return Case((rng.normal(size=small),), {"shape": shape})


def _slice(rng: Rng) -> Case:
    shape = (*_shape(rng, 1), _size(rng, 3, 8))
    start = _size(rng, 0, shape[1] - 1)
    attrs = {"dim": 1, "start": start, "stop": _size(rng, start + 1, shape[1]), "step": _size(rng, 1, 3)}
    return Case((rng.normal(size=shape),), attrs)


def _concat(rng: Rng) -> Case:
    a, b = _size(rng), _size(rng)
    parts = tuple(rng.normal(size=(a, _size(rng), b)) for _ in range(_size(rng, 1, 3)))
    return Case(parts, {"dim": 1})


def _reduce(rng: Rng) -> Case:
    shape = _shape(rng)
    dims = tuple(i for i in range(len(shape)) if rng.random() < 0.5) or (0,)
    return Case((rng.normal(size=shape),), {"dims": dims, "keepdim": bool(rng.random() < 0.5)})


def _polynomial(rng: Rng) -> Case:
    low, width = float(rng.normal()), float(rng.uniform(0.5, 5.0))
    coefficients = tuple(float(c) for c in rng.normal(size=_size(rng, 1, 9)))
    x = rng.uniform(low, low + width, size=_shape(rng))
    return Case((x,), {"coefficients": coefficients, "low": low, "high": low + width})


def _power(rng: Rng) -> Case:
    return Case((rng.normal(size=_shape(rng)),), {"exponent": _size(rng, 1, 8)})


def _masked(rng: Rng, **attrs: Attr) -> Case:
    x = rng.normal(size=_shape(rng, 3)) + 0.2
    attrs["dim"] = _size(rng, 0, 2)
    if rng.random() < 0.5:
        return Case((x,), attrs)
    mask = (rng.random(size=x.shape) < 0.7).astype(float)
    mask[tuple(slice(0, 1) if i == attrs["dim"] else slice(None) for i in range(3))] = 1.0
    return Case((x, mask), attrs, public=(1,))


def _power_softmax(rng: Rng) -> Case:
    return _masked(rng, exponent=2 * _size(rng, 1, 3), epsilon=float(rng.uniform(0.5, 2.0)))


def _two_quad(rng: Rng) -> Case:
    return _masked(rng, offset=float(rng.uniform(3.0, 6.0)))


def _norm(rng: Rng) -> Case:
    shape = _shape(rng, 3)
    axes = (2,) if rng.random() < 0.5 else (1, 2)
    sizes = tuple(shape[a] for a in axes)
    parts = (rng.normal(size=sizes), rng.normal(size=sizes))[: _size(rng, 0, 2)]
    attrs: dict[str, Attr] = {"epsilon": 1e-3, "axes": axes}
    return Case((rng.normal(size=shape), *parts), attrs, public=(1, 2)[: len(parts)])


def _series(rng: Rng) -> dict[str, Attr]:
    coefficients = tuple(float(c) for c in rng.normal(size=_size(rng, 1, 5)))
    low, high = float(rng.uniform(-12.0, -10.0)), float(rng.uniform(10.0, 12.0))
    return {"coefficients": coefficients, "low": low, "high": high}


def _pointwise(rng: Rng) -> Case:
    return _masked(rng, **_series(rng), scale=float(rng.uniform(0.1, 1.0)))


def _channel_polynomial(rng: Rng) -> Case:
    shape = _shape(rng, 3)
    axis = _size(rng, 0, 2)
    scale = rng.uniform(0.5, 2.0, size=shape[axis])
    return Case((rng.normal(size=shape), scale), {**_series(rng), "axis": axis}, public=(1,))


def _polynomial_norm(rng: Rng) -> Case:
    plain = _norm(rng)
    return Case(
        plain.operands, {**plain.attrs, **_series(rng), "centre": bool(rng.random() < 0.5)}, plain.public
    )


def _batch_norm(rng: Rng) -> Case:
    shape = _shape(rng, 3)
    axis = _size(rng, 0, 2)
    n = shape[axis]
    parts = (rng.normal(size=n), rng.uniform(0.2, 3.0, size=n), rng.normal(size=n), rng.normal(size=n))
    kept = parts[: 2 if rng.random() < 0.5 else 4]
    attrs: dict[str, Attr] = {"epsilon": 1e-5, "axis": axis}
    return Case((rng.normal(size=shape), *kept), attrs, public=tuple(range(1, 1 + len(kept))))


def _select(rng: Rng) -> Case:
    rows, breaks = _size(rng, 1, 3), np.sort(rng.normal(size=_size(rng, 1, 4)))
    table = rng.normal(size=rows * (len(breaks) + 1))
    attrs: dict[str, Attr] = {"breaks": tuple(map(float, breaks)), "table": tuple(map(float, table))}
    return Case((rng.normal(size=_shape(rng)),), attrs)


def _where(rng: Rng) -> Case:
    shape = _shape(rng)
    return Case(((rng.random(size=shape) < 0.5).astype(float), *(rng.normal(size=shape) for _ in range(2))))


def _largest(rng: Rng) -> Case:
    return _masked(rng)


CASES: Mapping[str, Callable[[Rng], Case]] = {
    "add": _broadcast_pair,
    "sub": _broadcast_pair,
    "mul": _broadcast_pair,
    "neg": _unary(),
    "matmul": _matmul,
    "linear": _linear,
    "conv2d": _conv2d,
    "avg_pool2d": _pool,
    "max_pool2d": _pool,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "slice": _slice,
    "concat": _concat,
    "sum": _reduce,
    "mean": _reduce,
    "polynomial": _polynomial,
    "power": _power,
    "reciprocal": _positive,
    "gelu": lambda rng: _unary(approximate="tanh" if rng.random() < 0.5 else "none")(rng),
    "relu": _unary(),
    "function": _unary(program=(("mul", 0, 1.7), ("sigmoid", 1), ("mul", 0, 2), ("add", 3, 0.25))),
    "where": _where,
    "silu": _unary(),
    "tanh": _unary(),
    "sigmoid": _unary(),
    "exp": _unary(),
    "log": _positive,
    "trunc": _unary(bits=3),
    "lift": _unary(bits=3),
    "extend": _unary(width=64),
    "narrow": _unary(width=32),
    "keep": _unary(frac_bits=20),
    "select": _select,
    "fourier": _unary(log_period=4, constant=0.5, cosines=(1.0, -0.25), sines=(0.5, 2.0)),
    "largest": _largest,
    "erf": _unary(),
    "inverse_sqrt": _positive,
    "softmax": _masked,
    "power_softmax": _power_softmax,
    "two_quad": _two_quad,
    "pointwise": _pointwise,
    "channel_polynomial": _channel_polynomial,
    "polynomial_norm": _polynomial_norm,
    "layer_norm": _norm,
    "rms_norm": _norm,
    "batch_norm": _batch_norm,
}
"""By op name; leaves have none."""
