"""ATen ops to graph ops: `HANDLERS` by name. A handler gets the importer and the op's own arguments.

At least one argument is secret. What a handler cannot take it refuses, with the reason and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

from torch import Tensor, dtype

from cipherformer.capture.attend import (
    attention,
    channel_polynomial,
    pointwise,
    polynomial,
    polynomial_norm,
    power_softmax,
    softmax,
    two_quad,
)
from cipherformer.capture.elementary import ELEMENTARY
from cipherformer.capture.importer import Handler, Importer
from cipherformer.capture.layers import LAYERS
from cipherformer.capture.moves import MOVES
from cipherformer.capture.obstacle import Refusal
from cipherformer.capture.public import Secret

Number = int | float


def add(imp: Importer, a: Any, b: Any, *, alpha: Number = 1) -> Secret:
    """A + alpha b. A public operand may be an additive mask."""
    scaled = b if alpha == 1 else (imp.emit("mul", b, alpha) if isinstance(b, Secret) else b * alpha)
    names = [imp.operand(x, mask=isinstance(x, Tensor)) for x in (a, scaled)]
    return imp.emit("add", *map(Secret, names))


def sub(imp: Importer, a: Any, b: Any, *, alpha: Number = 1) -> Secret:
    """A - alpha b."""
    if alpha != 1:
        b = imp.emit("mul", b, alpha) if isinstance(b, Secret) else b * alpha
    return imp.emit("sub", a, b)


def reversed_sub(imp: Importer, a: Any, b: Any, alpha: Number = 1) -> Secret:
    """B - alpha a."""
    return sub(imp, b, a, alpha=alpha)


def mul(imp: Importer, a: Any, b: Any) -> Secret:
    """A b."""
    return imp.emit("mul", a, b)


def div(imp: Importer, a: Any, b: Any, *, rounding_mode: str | None = None) -> Secret:
    """A / b: times a public reciprocal, or a reciprocal."""
    if rounding_mode is not None:
        raise Refusal(f"division rounded to {rounding_mode}", "rounding is not polynomial", "divide exactly")
    if isinstance(b, Secret):
        inverse = reciprocal(imp, b)
        return inverse if not isinstance(a, (Secret, Tensor)) and a == 1 else imp.emit("mul", a, inverse)
    return imp.emit("mul", a, 1.0 / (b.double() if isinstance(b, Tensor) else b))


def reciprocal(imp: Importer, x: Secret) -> Secret:
    """1 / x; of a square root the inverse square root."""
    node = imp.build.node(x.name)
    root = imp.build.node(node.inputs[1]) if node.op == "mul" else node
    if root.op == "inverse_sqrt" and node.inputs[:1] == root.inputs:
        return Secret(root.name)
    return imp.emit("reciprocal", x)


def power(imp: Importer, x: Any, exponent: Any) -> Secret:
    """X^exponent."""
    if isinstance(exponent, (int, float)) and isinstance(x, Secret):
        if exponent == -0.5:
            return imp.emit("inverse_sqrt", x)
        if exponent == int(exponent) and exponent != 0:
            base = x if abs(exponent) == 1 else imp.emit("power", x, exponent=abs(int(exponent)))
            return base if exponent > 0 else reciprocal(imp, base)
        if exponent == 0.5:
            return square_root(imp, x)
        return imp.emit("function", x, program=(("pow", 0, float(exponent)),))
    raise Refusal(
        "a power whose exponent is a tensor", "only numbers have a private form", "use a number as exponent"
    )


def square_root(imp: Importer, x: Secret) -> Secret:
    """Sqrt(x) = x / sqrt(x)."""
    return imp.emit("mul", x, imp.emit("inverse_sqrt", x))


def leaky_relu(imp: Importer, x: Secret, slope: float = 0.01) -> Secret:
    """Slope x + (1 - slope) relu(x)."""
    return imp.emit("add", imp.emit("mul", x, slope), imp.emit("mul", imp.emit("relu", x), 1.0 - slope))


def matmul(imp: Importer, a: Any, b: Any) -> Secret:
    """A b, with numpy's meaning for vectors."""
    shapes = [imp.shape(x) if isinstance(x, Secret) else tuple(x.shape) for x in (a, b)]
    left = imp.emit("reshape", a, shape=(1, *shapes[0])) if len(shapes[0]) == 1 else a
    right = imp.emit("reshape", b, shape=(*shapes[1], 1)) if len(shapes[1]) == 1 else b
    product = imp.emit("matmul", left, right)
    shape = imp.shape(product)
    if len(shapes[0]) == 1:
        shape = (*shape[:-2], shape[-1])
    if len(shapes[1]) == 1:
        shape = shape[:-1]
    return product if shape == imp.shape(product) else imp.emit("reshape", product, shape=shape)


def addmm(imp: Importer, c: Any, a: Any, b: Any, *, beta: Number = 1, alpha: Number = 1) -> Secret:
    """Beta c + alpha a b."""
    product = matmul(imp, a, b)
    product = product if alpha == 1 else imp.emit("mul", product, alpha)
    return add(imp, product, c, alpha=beta)


def masked_fill(imp: Importer, x: Any, mask: Any, value: Any) -> Secret:
    """X where the public mask is 0, value elsewhere."""
    if isinstance(mask, Secret):
        raise Refusal(
            "a mask that depends on the input", "comparisons are not polynomial", "use a public mask"
        )
    keep = 1.0 - mask.double()
    fill = imp.operand(
        mask.double().nan_to_num() * float(value) if float(value) > -1e30 else mask.double() * -1e30
    )
    return imp.emit("add", imp.emit("mul", x, keep), Secret(fill))


def cast(imp: Importer, x: Any, *args: Any, **kwargs: Any) -> Any:
    """A change of floating type is the identity; the graph has one."""
    for kind in (*args, *kwargs.values()):
        if isinstance(kind, dtype) and not kind.is_floating_point:
            raise Refusal(
                f"a cast to {kind}", "rounding is not polynomial", "keep the value in floating point"
            )
    return x


def embedding(imp: Importer, weight: Any, indices: Any, *args: Any, **kwargs: Any) -> Secret:
    """Refused: the client embeds with the public table."""
    raise Refusal(
        "a table look-up at a secret index",
        "under encryption it would cost a product with the whole table",
        "capture the model from its embeddings (inputs_embeds); the client looks the tokens up itself",
    )


def variance(
    imp: Importer,
    x: Secret,
    dim: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Secret:
    """Mean of squared differences, with Bessel's correction unless told otherwise."""
    shape = imp.shape(x)
    dims = tuple(sorted(d % len(shape) for d in (dim if dim is not None else range(len(shape)))))
    centred = imp.emit("sub", x, imp.emit("mean", x, dims=dims, keepdim=True))
    mean = imp.emit("mean", imp.emit("power", centred, exponent=2), dims=dims, keepdim=keepdim)
    count = prod(shape[d] for d in dims)
    free = count - (1.0 if correction is None else float(correction))
    return mean if free == count else imp.emit("mul", mean, count / free)


def deviation(imp: Importer, x: Secret, dim: Sequence[int] | None = None, **settings: Any) -> Secret:
    """Square root of the variance."""
    return square_root(imp, variance(imp, x, dim, **settings))


def _elementwise(op: str, **attrs: Any) -> Handler:
    def handler(imp: Importer, x: Secret) -> Secret:
        return imp.emit(op, x, **attrs)

    return handler


def gelu(imp: Importer, x: Secret, *, approximate: str = "none") -> Secret:
    """GELU, exact or by tanh."""
    return imp.emit("gelu", x, approximate=approximate)


_ARITHMETIC: Mapping[str, Handler] = {
    "aten.add.Tensor": add,
    "aten.add.Scalar": add,
    "aten.sub.Tensor": sub,
    "aten.sub.Scalar": sub,
    "aten.rsub.Scalar": reversed_sub,
    "aten.rsub.Tensor": reversed_sub,
    "aten.mul.Tensor": mul,
    "aten.mul.Scalar": mul,
    "aten.div.Tensor": div,
    "aten.div.Scalar": div,
    "aten.div.Tensor_mode": div,
    "aten.true_divide.Tensor": div,
    "aten.neg.default": _elementwise("neg"),
    "aten.pow.Tensor_Scalar": power,
    "aten.square.default": _elementwise("power", exponent=2),
    "aten.reciprocal.default": reciprocal,
    "aten.rsqrt.default": _elementwise("inverse_sqrt"),
    "aten.sqrt.default": square_root,
    "aten.matmul.default": matmul,
    "aten.mm.default": matmul,
    "aten.bmm.default": matmul,
    "aten.addmm.default": addmm,
    "aten.masked_fill.Scalar": masked_fill,
    "aten.var.correction": variance,
    "aten.std.correction": deviation,
}

_FUNCTIONS: Mapping[str, Handler] = {
    "aten.gelu.default": gelu,
    "aten.relu.default": _elementwise("relu"),
    "aten.leaky_relu.default": leaky_relu,
    "aten.silu.default": _elementwise("silu"),
    "aten.tanh.default": _elementwise("tanh"),
    "aten.sigmoid.default": _elementwise("sigmoid"),
    "aten.exp.default": _elementwise("exp"),
    "aten.log.default": _elementwise("log"),
    "aten.erf.default": _elementwise("erf"),
    "aten.softmax.int": softmax,
    "aten._softmax.default": softmax,
    "aten.scaled_dot_product_attention.default": attention,
    "aten.embedding.default": embedding,
    "cipherformer.channel_polynomial.default": channel_polynomial,
    "cipherformer.pointwise.default": pointwise,
    "cipherformer.polynomial.default": polynomial,
    "cipherformer.polynomial_norm.default": polynomial_norm,
    "cipherformer.power_softmax.default": power_softmax,
    "cipherformer.two_quad.default": two_quad,
}

_CASTS: Mapping[str, Handler] = dict.fromkeys(
    (
        "aten.to.dtype",
        "aten.to.dtype_layout",
        "aten.to.device",
        "aten.to.other",
        "aten._to_copy.default",
        "aten.type_as.default",
        "aten.clone.default",
        "aten.contiguous.default",
        "aten.detach.default",
        "aten.alias.default",
        "aten.dropout.default",
        "aten.native_dropout.default",
        "aten.lift_fresh_copy.default",
    ),
    cast,
)

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {**_ARITHMETIC, **_FUNCTIONS, **ELEMENTARY, **_CASTS, **MOVES, **LAYERS}
)
"""Every op that can be imported."""
