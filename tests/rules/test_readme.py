"""The README's example runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from source import ROOT

README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


def environment() -> dict[str, str]:
    programs = Path(sys.executable).parent
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.torch
def test_python(tmp_path):
    done = subprocess.run([sys.executable, "-c", block("python")], cwd=tmp_path, env=environment(),
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    encrypted, plain, _ = done.stdout.split()[-3:]
    assert encrypted == plain


@pytest.mark.torch
@pytest.mark.slow
def test_command_line(tmp_path):
    wait = (
        "server=$!\ntrap 'kill $server' EXIT\nwhile [ ! -S server.sock ]; do kill -0 $server; sleep 0.1; done"
    )
    script = block("sh").replace("server.sock &", f"server.sock &\n{wait}")
    done = subprocess.run(["sh", "-eu", "-c", script + "\nls -l keys/secret.key"], cwd=tmp_path,
                          env=environment(), capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    assert "no obstacles" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("-rw-------")
