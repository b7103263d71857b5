"""Which interpreter runs which peer; makes OpenFHE's environment where it can."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OPENFHE = "openfhe==1.6.1.0.22.4"  # its wheel holds an extension for CPython 3.10 only
FOLDER = Path(__file__).parent
ENVIRONMENT = Path(".venv-peers")


@dataclass(frozen=True)
class Subject:
    """A library and how to start its runner; `python` is None where it cannot run, and `why` says why."""

    name: str
    runner: str
    python: str | None
    why: str = ""

    @property
    def command(self) -> list[str]:
        return [self.python or "", str(FOLDER / self.runner)]


def own() -> Subject:
    return Subject("cipherformer", "cipherformer_runner.py", sys.executable)


def peers(openfhe_python: str | None) -> list[Subject]:
    """Every peer, runnable or not. May create `.venv-peers` (a download of about 30 MB)."""
    found = [_installed("SEAL", "seal_runner.py", "tenseal", "tenseal is not installed")]
    python, why = (openfhe_python, "") if openfhe_python else _openfhe_environment()
    found.append(Subject("OpenFHE", "openfhe_runner.py", python, why))
    desilo = "desilofhe is not installed (its licence is non-commercial: the choice is yours)"
    found.append(_installed("DESILO", "desilo_runner.py", "desilofhe", desilo))
    return found


def _installed(name: str, runner: str, module: str, why: str) -> Subject:
    present = importlib.util.find_spec(module) is not None
    return Subject(name, runner, sys.executable if present else None, "" if present else why)


def _openfhe_environment() -> tuple[str | None, str]:
    python = ENVIRONMENT / "bin" / "python"
    if python.exists() and _imports_openfhe(python):
        return str(python), ""
    base = _python310()
    if base is None:
        return None, "no python3.10 was found; --openfhe-python PATH names an interpreter that has openfhe"
    try:
        subprocess.run([base, "-m", "venv", str(ENVIRONMENT)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "-q", OPENFHE, "numpy"]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        return None, f"{ENVIRONMENT} could not be made: {str(error.stderr)[-300:]}"
    return (str(python), "") if _imports_openfhe(python) else (None, f"{OPENFHE} does not import")


def _imports_openfhe(python: Path) -> bool:
    return subprocess.run([python, "-c", "import openfhe, numpy"], capture_output=True).returncode == 0


def _python310() -> str | None:
    """A python3.10 that starts: from PATH (a version manager's shim may refuse), or from ~/.pyenv."""
    candidates = [shutil.which("python3.10")]
    candidates += [str(p) for p in sorted(Path.home().glob(".pyenv/versions/3.10*/bin/python3.10"))]
    probe = ["-c", "import sys; sys.exit(sys.version_info[:2] != (3, 10))"]
    for python in candidates:
        if python and subprocess.run([python, *probe], capture_output=True).returncode == 0:
            return python
    return None
