"""Walk an exported program and write our graph: public nodes are evaluated, secret ones are translated."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from cipherformer.capture.obstacle import Obstacle, Refusal
from cipherformer.capture.public import Secret, as_array, has_secret
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.types import Attr

Handler = Callable[..., Any]
_SKIP = ("_assert", "sym_constrain", "_guards")
_INLINE = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}


class Importer:
    """Writes one graph.

    Args:
        name: of the graph.
        handlers: by the name of an op, `aten.linear.default`.
        tensors: names of parameters and buffers, for constants to be called as the model calls them.
    """

    def __init__(self, name: str, handlers: Mapping[str, Handler], tensors: Mapping[int, str]) -> None:
        self.build = GraphBuilder(name)
        self.obstacles: list[Obstacle] = []
        self._handlers = handlers
        self._tensors = tensors
        self._constants: dict[tuple[int, bool], tuple[str, Tensor]] = {}
        self._stem = ""

    def shape(self, value: Secret) -> tuple[int, ...]:
        """Shape of a secret value."""
        return self.build.type_of(value.name).shape

    def emit(self, op: str, *operands: Any, **attrs: Attr) -> Secret:
        """Append an op; operands are secret values, tensors or numbers."""
        names = [self.operand(value) for value in operands]
        return Secret(self.build.emit_named(self._stem or op, op, names, attrs))

    def operand(self, value: Any, *, mask: bool = False) -> str:
        """Name of a value, made a constant if it is public."""
        if isinstance(value, Secret):
            return value.name
        if not isinstance(value, Tensor):
            return self.build.constant(as_array(value, mask=mask))
        key = (id(value), mask)
        if key not in self._constants:
            hint = self._tensors.get(id(value), f"{self._stem}_constant")
            self._constants[key] = (self.build.constant(as_array(value, mask=mask), hint), value)
        return self._constants[key][0]

    def run(self, graph: fx.Graph, owner: torch.nn.Module, arguments: Iterable[Any]) -> Any:
        """Import a graph whose placeholders take `arguments`; the value of its output node."""
        values: dict[fx.Node, Any] = {}
        supply = iter(arguments)
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = next(supply)
            elif node.op == "get_attr":
                values[node] = operator.attrgetter(str(node.target))(owner)
            elif node.op == "output":
                return fx.map_arg(node.args[0], values.__getitem__)
            else:
                args = fx.map_arg(node.args, values.__getitem__)
                kwargs = fx.map_arg(node.kwargs, values.__getitem__)
                values[node] = self._call(node, args, kwargs)
        return None

    def _call(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.build.origin, self._stem = module_path(node), node.name
        name = op_name(node)
        if any(part.startswith(_SKIP) for part in name.split(".")):
            return None
        if node.target is operator.getitem:
            return args[0][args[1]]
        if not has_secret(args) and not has_secret(kwargs):
            with torch.no_grad():
                return node.target(*args, **kwargs)  # type: ignore[operator]
        if name in _INLINE:
            body = args[_INLINE[name]]
            return self.run(body.graph, body, args[_INLINE[name] + 1 :])
        try:
            if name not in self._handlers:
                raise Refusal(
                    f"{name} of a secret value",
                    "the importer does not know this operation",
                    "write it with operations of docs/operations.md, or take it out of the private part",
                )
            return self._handlers[name](self, *args, **kwargs)
        except Refusal as refusal:
            where = self.build.origin
            self.obstacles.append(Obstacle(where, refusal.what, refusal.why, refusal.fix))
            return self._stand_in(node.meta.get("val"))

    def _stand_in(self, like: Any) -> Any:
        """A fresh secret of the same shape, to find later obstacles too; such a graph is never kept."""
        if isinstance(like, (list, tuple)):
            return tuple(map(self._stand_in, like))
        shape = tuple(int(s) for s in like.shape) if isinstance(like, Tensor) else ()
        return Secret(self.build.input(self.build.unique("stand_in"), shape))


def op_name(node: fx.Node) -> str:
    """`aten.linear.default`, `cipherformer.polynomial.default`, or a function's name."""
    return (
        str(node.target)
        if isinstance(node.target, torch._ops.OpOverload)
        else getattr(node.target, "__name__", str(node.target))
    )


def module_path(node: fx.Node) -> str:
    """Path of the innermost module that a node comes from: `blocks.0.attention`."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1].removeprefix("L['self'].").removeprefix("L['self']") if paths else ""
