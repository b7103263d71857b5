"""The stub names exactly what the module has."""

from __future__ import annotations

import ast
from pathlib import Path

import cipherformer
import cipherformer._native as native

STUB = Path(cipherformer.__file__).with_name("_native.pyi")


def public_names(owner: object) -> set[str]:
    return {name for name in vars(owner) if not name.startswith("_")}


def declared_names(body: list[ast.stmt]) -> set[str]:
    found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name for name in found if not name.startswith("_")}


def test_stub_and_module_agree() -> None:
    tree = ast.parse(STUB.read_text())
    assert declared_names(tree.body) == public_names(native)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) == 11
    for node in classes:
        assert declared_names(node.body) == public_names(getattr(native, node.name)), node.name
        assert ast.get_docstring(node), node.name


def test_argument_names_agree() -> None:
    """nanobind writes signatures into docstrings; keyword names must be those of the stub."""
    tree = ast.parse(STUB.read_text())
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for method in node.body:
            if (
                not isinstance(method, ast.FunctionDef)
                or method.name.startswith("__")
                or method.decorator_list
            ):
                continue
            signature = getattr(getattr(native, node.name), method.name).__doc__.splitlines()[0]
            for argument in method.args.args[1:]:
                assert f"{argument.arg}:" in signature, (node.name, method.name, argument.arg)
