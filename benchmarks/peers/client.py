"""The engine's side of a runner's process."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Any

from benchmarks.peers.environments import Subject


class RunnerError(Exception):
    """A runner that stopped; carries the last line of what it said."""


class Runner:
    """One subject, prepared for one setting, in its own process.

    Raises RunnerError if the library cannot be prepared or one of its results is wrong.
    """

    def __init__(self, subject: Subject, setting: dict[str, Any], threads: int) -> None:
        self.subject = subject
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the runner)
        self._process = subprocess.Popen(
            [*subject.command, json.dumps(setting)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)},
        )
        ready = self._answer()
        self.version: str = ready["version"]
        self.parameters: dict[str, Any] = ready["parameters"]
        self.operations: list[str] = ready["operations"]
        self.missing: dict[str, str] = ready["missing"]

    def time(self, operation: str, seconds: float) -> list[float]:
        """Seconds of single calls, sampled for about `seconds`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"operation": operation, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        times: list[float] = self._answer()["times"]
        return times

    def close(self) -> None:
        """Ends the process and waits for it."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or [f"exit status {self._process.returncode}"]
            self._errors.close()
            raise RunnerError(said[-1])
        answer: dict[str, Any] = json.loads(line)
        return answer
