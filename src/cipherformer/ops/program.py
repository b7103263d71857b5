"""A function of one number as data: a short program of elementary functions.

`((name, operand, ...), ...)`: an operand is a float (a constant) or an int (0 is x, k the result of
instruction k); the last instruction's result is the value. `x sigmoid(1.702 x)` is
`(("mul", 0, 1.702), ("sigmoid", 1), ("mul", 0, 2))`. So the table needs no entry for an activation that a
model brings along: its own formula is its reference, and its private form is fitted from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import erf
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.types import Attr

Floats = NDArray[np.float64]
Program = tuple[tuple[str | int | float, ...], ...]


def erf_array(x: NDArray[Any]) -> Floats:
    """The error function, elementwise; numpy has none."""
    flat = np.asarray(x, dtype=np.float64).ravel()
    return np.fromiter(map(erf, flat), dtype=np.float64, count=flat.size).reshape(np.shape(x))


UNARY_FUNCTIONS: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType(
    {
        "neg": np.negative,
        "reciprocal": np.reciprocal,
        "abs": np.abs,
        "sign": np.sign,
        "relu": lambda x: np.maximum(x, 0.0),
        "exp": np.exp,
        "exp2": np.exp2,
        "expm1": np.expm1,
        "log": np.log,
        "log2": np.log2,
        "log10": np.log10,
        "log1p": np.log1p,
        "sqrt": np.sqrt,
        "inverse_sqrt": lambda x: np.asarray(1.0 / np.sqrt(x)),
        "sigmoid": lambda x: np.asarray(0.5 * (1.0 + np.tanh(0.5 * x))),
        "tanh": np.tanh,
        "sinh": np.sinh,
        "cosh": np.cosh,
        "asinh": np.arcsinh,
        "atan": np.arctan,
        "sin": np.sin,
        "cos": np.cos,
        "tan": np.tan,
        "erf": erf_array,
        "floor": np.floor,
        "ceil": np.ceil,
        "round": np.round,
        "trunc": np.trunc,
    }
)
BINARY_FUNCTIONS: Mapping[str, Callable[[Floats, Floats], Any]] = MappingProxyType(
    {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "pow": np.power,
        "max": np.maximum,
        "min": np.minimum,
        "gt": np.greater,
        "ge": np.greater_equal,
        "lt": np.less,
        "le": np.less_equal,
        "eq": np.equal,
        "ne": np.not_equal,
    }
)
_KINKED = frozenset({"abs", "sign", "relu"})
_JUMPING = frozenset({"floor", "ceil", "round", "trunc"})
_COMPARING = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
_CHOOSING = frozenset({"max", "min"})
_MOST_INSTRUCTIONS = 256


def is_program(value: Attr) -> bool:
    """Whether an attribute is a well-formed program."""
    if not isinstance(value, tuple) or not 1 <= len(value) <= _MOST_INSTRUCTIONS:
        return False
    return all(_is_instruction(step, i) for i, step in enumerate(value))


def _is_instruction(step: Attr, before: int) -> bool:
    if not isinstance(step, tuple) or not step or not isinstance(step[0], str):
        return False
    name, operands = step[0], step[1:]
    count = 1 if name in UNARY_FUNCTIONS else 2 if name in BINARY_FUNCTIONS else 3 if name == "where" else 0
    return len(operands) == count > 0 and all(
        isinstance(v, float) or (type(v) is int and 0 <= v <= before) for v in operands
    )


def of(attrs: Mapping[str, Attr]) -> Program:
    """The attribute `program` of a node."""
    value = attrs["program"]
    if not is_program(value):
        raise ValueError("the program is malformed")
    return value  # type: ignore[return-value]


def evaluate(program: Program, x: NDArray[Any]) -> Floats:
    """The function, elementwise in float64; where it is undefined the value is not finite."""
    return _trace(program, np.asarray(x, dtype=np.float64))[-1]


def _trace(program: Program, x: Floats) -> list[Floats]:
    values = [x]
    with np.errstate(all="ignore"):
        for name, *operands in program:
            args = [values[v] if isinstance(v, int) else np.float64(v) for v in operands]
            values.append(np.asarray(_apply(str(name), args), dtype=np.float64) + np.zeros_like(x))
    return values


def _apply(name: str, args: list[Any]) -> Any:
    if name == "where":
        return np.where(args[0] != 0.0, args[1], args[2])
    function: Any = UNARY_FUNCTIONS.get(name) or BINARY_FUNCTIONS[name]
    return function(*args)


def _states(program: Program, x: Floats) -> Iterator[Floats]:
    """For each instruction with kinks or jumps what tells on which side of them x lies."""
    values = _trace(program, x)
    for step, result in zip(program, values[1:], strict=True):
        name, *operands = step
        args = [values[v] if isinstance(v, int) else np.full_like(x, v) for v in operands]
        if name in _KINKED:
            yield np.sign(args[0]) if name == "sign" else np.asarray(args[0] > 0.0, dtype=np.float64)
        elif name in _CHOOSING:
            yield np.asarray(args[0] > args[1], dtype=np.float64)
        elif name in _COMPARING or name in _JUMPING:
            yield result


def breaks(program: Program, low: float, high: float, *, points: int = 4097) -> tuple[float, ...]:
    """Where the function changes its formula inside [low, high]: each the first float on the far side.

    The grid finds changes further apart than (high - low) / points, bisection their places.
    """
    grid = np.unique(np.concatenate([np.linspace(low, high, points), np.clip([0.0], low, high)]))
    before: list[float] = []
    after: list[float] = []
    for state in _states(program, grid):
        for i in np.flatnonzero(state[1:] != state[:-1]):
            before.append(float(grid[i]))
            after.append(float(grid[i + 1]))
    left, right = np.array(before), np.array(after)
    if not left.size:
        return ()
    kinds = [np.flatnonzero(s[1:] != s[:-1]).size for s in _states(program, grid)]
    owner = np.repeat(np.arange(len(kinds)), kinds)
    while True:
        middle = left + (right - left) / 2.0
        open_ = (middle > left) & (middle < right)
        if not open_.any():
            return tuple(sorted(set(map(float, right))))
        every = np.stack(list(_states(program, middle)))
        start = np.stack(list(_states(program, left)))
        same = every[owner, np.arange(left.size)] == start[owner, np.arange(left.size)]
        left, right = np.where(open_ & same, middle, left), np.where(open_ & ~same, middle, right)
