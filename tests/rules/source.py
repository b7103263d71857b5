"""The files of the tree and what they import, for the rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "cipherformer"


MADE = {"build", "out", "dist", "__pycache__", "shared"}


def files(*patterns: str) -> list[Path]:
    """Files of the project whose name matches a pattern: nothing that was built, downloaded or hidden."""
    found = []
    for top in ROOT.iterdir():
        if top.name in MADE or (top.name.startswith(".") and top.name != ".ci"):
            continue
        found += [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    kept = [path for path in found if not MADE & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in kept if any(path.match(pattern) for pattern in patterns))


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """The package's direct child that a file belongs to: `ops`, `types`, `cli` ..."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, lazy: bool = True) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports; without `lazy`, only what loading the file imports.

    `from a import b` gives `a.b`, as b may be a module.
    """
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree) if lazy else _eager(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["cipherformer", *path.relative_to(PACKAGE).parts[:-1]]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _eager(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside functions and outside `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _eager(node)
