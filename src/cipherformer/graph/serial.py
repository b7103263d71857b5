"""A graph as JSON-able data plus arrays, and back with every property checked: files may lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError, FormatError
from cipherformer.graph.ir import Graph, Node
from cipherformer.graph.verify import verify
from cipherformer.types import Attr, Type

VERSION = 1
_MAX_NODES = 1_000_000
_DTYPES = (np.dtype(np.float64), np.dtype(np.int64))


def to_dict(graph: Graph) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """`(data, arrays)`: data holds lists, strings and numbers only; arrays are the constants by name."""
    nodes = [
        {
            "name": n.name,
            "op": n.op,
            "inputs": list(n.inputs),
            "attrs": {k: _to_json(v) for k, v in sorted(n.attrs.items())},
            "shape": list(n.type.shape),
            "secret": n.type.secret,
            "range": None if n.type.low is None else [n.type.low, n.type.high],
            "origin": n.origin,
        }
        for n in graph.nodes
    ]
    data = {"version": VERSION, "name": graph.name, "nodes": nodes, "outputs": list(graph.outputs)}
    return data, dict(graph.constants)


def from_dict(data: Any, arrays: Mapping[str, NDArray[Any]], *, stage: str = "captured") -> Graph:
    """The graph, verified against `stage`.

    Raises:
        FormatError: anything that is not exactly what `to_dict` writes.
    """
    fields = _object(data, {"version", "name", "nodes", "outputs"}, "graph")
    if fields["version"] != VERSION:
        raise FormatError(
            f"a graph of version {fields['version']!r}",
            why=f"this is version {VERSION}",
            fix="compile it again",
        )
    entries = _list(fields["nodes"], "nodes")
    if len(entries) > _MAX_NODES:
        raise FormatError(f"{len(entries)} nodes", why=f"at most {_MAX_NODES} are read")
    nodes = tuple(_node(entry) for entry in entries)
    outputs = tuple(_string(o, "outputs") for o in _list(fields["outputs"], "outputs"))
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype not in _DTYPES:
            raise FormatError("an array is neither float64 nor int64", where=str(name))
    constants = {str(name): np.array(array) for name, array in arrays.items()}
    graph = Graph(nodes, outputs, constants, _string(fields["name"], "name"))
    try:
        return verify(graph, stage)
    except CompileError as error:
        raise FormatError("not a valid graph", where=error.where, why=error.why or error.what) from error


def _node(entry: Any) -> Node:
    keys = {"name", "op", "inputs", "attrs", "shape", "secret", "range", "origin"}
    fields = _object(entry, keys, "node")
    name = _string(fields["name"], "node")
    shape = tuple(_list(fields["shape"], name))
    if not all(type(s) is int for s in shape) or type(fields["secret"]) is not bool:
        raise FormatError("a shape or a secrecy is malformed", where=name)
    low, high = (None, None) if fields["range"] is None else _range(fields["range"], name)
    attrs = _object(fields["attrs"], None, name)
    return Node(
        name,
        _string(fields["op"], name),
        tuple(_string(i, name) for i in _list(fields["inputs"], name)),
        Type(shape, fields["secret"], low, high),
        {key: _from_json(value, name) for key, value in attrs.items()},
        _string(fields["origin"], name),
    )


def _to_json(value: Attr) -> Any:
    return [_to_json(v) for v in value] if isinstance(value, tuple) else value


def _from_json(value: Any, where: str, depth: int = 0) -> Attr:
    if isinstance(value, list) and depth < 4:
        return tuple(_from_json(v, where, depth + 1) for v in value)
    if type(value) in (int, float, bool, str):
        scalar: Attr = value
        return scalar
    raise FormatError(f"an attribute is a {type(value).__name__}", where=where)


def _range(value: Any, where: str) -> tuple[float, float]:
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(type(v) in (int, float) for v in value)
        and all(abs(v) < 2**63 for v in value)
    ):
        return float(value[0]), float(value[1])
    raise FormatError("a range is malformed", where=where)


def _object(value: Any, keys: set[str] | None, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise FormatError("not an object", where=where)
    if keys is not None and value.keys() != keys:
        raise FormatError(f"fields {sorted(value)}, not {sorted(keys)}", where=where)
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError("not a list", where=where)
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise FormatError("not a string, or too long", where=where)
    return value
