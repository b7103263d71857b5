"""A client or a server that only runs plans needs numpy and the native module, not torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPTIONAL = ("cipherformer.report.plot", "cipherformer.backends.fixed_torch")
"""Imported by those alone who ask for a plot or for a torch device."""

BLOCKED = ("torch", "transformers", "sklearn", "matplotlib", "scipy", "safetensors", "tenseal")
PROGRAM = """
import importlib, importlib.abc, pkgutil, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Block())
for root in {roots!r}:
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), root + "."):
        if module.name not in {optional!r}:
            importlib.import_module(module.name)
"""


def run(*roots: str, blocked: tuple[str, ...] = BLOCKED) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(blocked=blocked, roots=roots, optional=OPTIONAL)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    "root", ["ops", "graph", "kernels", "passes", "plan", "backends", "serve", "report", "cli"]
)
def test_the_runtime_imports_without_torch(root):
    done = run(f"cipherformer.{root}")
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_block_works():
    assert "blocked: torch" in run("cipherformer.capture").stderr
