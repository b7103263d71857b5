"""A plan: everything about one private computation, decided. Backends run it and make no choices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import FormatError
from cipherformer.graph import Graph
from cipherformer.graph import serial as graph_serial
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.count import CountAlgebra, Ledger, Shadow
from cipherformer.kernels.run import execute
from cipherformer.kernels.step import Step
from cipherformer.plan import serial
from cipherformer.plan.estimate import summarise
from cipherformer.plan.signature import InputSpec, OutputSpec, Signature
from cipherformer.targets.bootstrap import BootstrapSet
from cipherformer.targets.ckks import CkksTarget

VERSION = 4
PLAN_FILE, ARRAYS_FILE = "plan.json", "arrays.npz"


@dataclass(frozen=True, eq=False)
class Plan:
    """One model compiled for one CKKS ring.

    Args:
        name: of the model.
        graph: the graph it came from, at stage `ckks.lowered`: the plaintext polynomial model.
        target: ring and primes.
        steps: kernel calls in order, with levels and scales.
        outputs: values that go back to the client.
        transforms: diagonals by key.
        vectors: public vectors by key.
        packings: input step -> (graph input, slot map).
        predicted_rms_error: root mean square error of the outputs that `ckks_sim` found when the plan
            was made.
        bootstrap: the set behind the plan's `refresh` steps; None if it has none.
        flood_bits: answers are re-randomised under an error of +-2^flood_bits; -1: they are not.
    """

    name: str
    graph: Graph
    target: CkksTarget
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    transforms: Mapping[str, Transform]
    vectors: Mapping[str, NDArray[np.float64]]
    packings: Mapping[str, tuple[str, NDArray[np.int64]]]
    predicted_rms_error: float = 0.0
    bootstrap: BootstrapSet | None = None
    flood_bits: int = -1

    @property
    def levels(self) -> int:
        """Levels of the deepest input."""
        return max((s.level for s in self.steps if s.kernel == "input"), default=0)

    @cached_property
    def ledgers(self) -> tuple[Ledger, ...]:
        """Operations and keys of each step, from a run on levels and scales alone."""
        inputs = {s.name: Shadow(s.level, s.scale) for s in self.steps if s.kernel == "input"}
        algebra = CountAlgebra(self.target.moduli, self.target.slots, bootstrap=self.bootstrap)
        found: list[Ledger] = []

        def enter(step: Step) -> None:
            leave()
            algebra.ledger.step = step.name

        def leave() -> None:
            found.append(algebra.ledger.taken())

        execute(algebra, self.steps, self.transforms, self.vectors, inputs, self.outputs, enter)
        leave()
        return tuple(found[1:])

    @cached_property
    def ledger(self) -> Ledger:
        """Operations and keys of a run."""
        total = Ledger()
        for ledger in self.ledgers:
            total.join(ledger)
        return total

    @cached_property
    def signature(self) -> Signature:
        """All that a client needs, without weights."""
        ranges = {n.name: n.type for n in self.graph.inputs}
        by_name = {s.name: s for s in self.steps}
        inputs = tuple(
            InputSpec(
                name=step.name,
                source=self.packings[step.name][0],
                shape=ranges[self.packings[step.name][0]].shape,
                low=_number(ranges[self.packings[step.name][0]].low, -1.0),
                high=_number(ranges[self.packings[step.name][0]].high, 1.0),
                level=step.level,
                scale=step.scale,
                packing=self.packings[step.name][1],
            )
            for step in self.steps
            if step.kernel == "input"
        )
        outputs = tuple(
            OutputSpec(
                name, by_name[name].layout.shape, by_name[name].level, by_name[name].layout.home_slots()
            )
            for name in self.outputs
        )
        return Signature(
            name=self.name,
            fingerprint=self.fingerprint,
            target=self.target,
            rotations=tuple(sorted(self.ledger.rotations.items())),
            relinearise=self.ledger.relinearise,
            conjugate=self.ledger.conjugate,
            raised=self.ledger.raised,
            flood_bits=self.flood_bits,
            inputs=inputs,
            outputs=outputs,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the plan's text and arrays, in hexadecimal. It depends on the weights."""
        data, arrays = self._parts()
        h = hashlib.sha256(json.dumps(data, sort_keys=True).encode())
        for key in sorted(arrays):
            array = np.ascontiguousarray(arrays[key])
            h.update(f"{key}:{array.dtype.str}:{array.shape};".encode())
            h.update(array.tobytes())
        return h.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Levels, keys, security, predicted seconds, memory and bytes, as JSON values."""
        return summarise(self)

    def text(self) -> str:
        """One line a step: levels, kernel, operands, layout (slot bits, lowest first), origin."""
        return "".join(serial.step_line(s, self.transforms) + "\n" for s in self.steps)

    def save(self, folder: str | Path) -> Path:
        """Write `plan.json` and `arrays.npz` (the server's copy: it holds the weights)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        data, arrays = self._parts()
        np.savez_compressed(folder / ARRAYS_FILE, **cast(Any, arrays))
        (folder / PLAN_FILE).write_text(
            json.dumps({**data, "fingerprint": self.fingerprint}, indent=1) + "\n"
        )
        return folder

    @staticmethod
    def load(folder: str | Path) -> Plan:
        """Read a plan.

        Raises:
            FormatError: if the folder holds no plan, one of another version, or one that was changed.
        """
        folder = Path(folder)
        try:
            data = json.loads((folder / PLAN_FILE).read_text())
            with np.load(folder / ARRAYS_FILE, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
        except (OSError, *serial.MALFORMED) as error:
            raise FormatError("no readable plan", where=str(folder), why=str(error)) from error
        try:
            plan = _from_parts(data, arrays)
        except serial.MALFORMED as error:
            raise FormatError(
                "not a plan", where=str(folder), why=repr(error), fix="compile again"
            ) from error
        if data.get("fingerprint") != plan.fingerprint:
            raise FormatError(
                "the plan's files do not match its fingerprint",
                where=str(folder),
                why="a file was changed or damaged, or another release wrote it",
                fix="compile again",
            )
        return plan

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        graph, constants = graph_serial.to_dict(self.graph)
        arrays: dict[str, NDArray[Any]] = {f"graph/{k}": v for k, v in constants.items()}
        arrays |= {f"transform/{k}": t.diagonals for k, t in self.transforms.items()}
        arrays |= {f"vector/{k}": v for k, v in self.vectors.items()}
        arrays |= {f"packing/{k}": p for k, (_, p) in self.packings.items()}
        data = {
            "version": VERSION,
            "name": self.name,
            "target": serial.target_to_dict(self.target),
            "bootstrap": serial.bootstrap_to_dict(self.bootstrap),
            "flood_bits": self.flood_bits,
            "steps": [serial.step_to_dict(s) for s in self.steps],
            "outputs": list(self.outputs),
            "transforms": {
                k: {"rotations": list(t.rotations), "baby_step": t.baby_step}
                for k, t in self.transforms.items()
            },
            "packings": {k: source for k, (source, _) in self.packings.items()},
            "predicted_rms_error": self.predicted_rms_error,
            "graph": graph,
        }
        return data, arrays


def _number(value: float | None, default: float) -> float:
    return default if value is None else value


def _from_parts(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Plan:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']}, this release reads {VERSION}")

    def group(prefix: str) -> dict[str, NDArray[Any]]:
        return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}

    diagonals = group("transform/")
    transforms = {
        k: Transform(k, tuple(int(r) for r in t["rotations"]), diagonals[k], int(t["baby_step"]))
        for k, t in data["transforms"].items()
    }
    packings = group("packing/")
    return Plan(
        name=str(data["name"]),
        graph=graph_serial.from_dict(data["graph"], group("graph/"), stage="ckks.lowered"),
        target=serial.target_from_dict(data["target"]),
        steps=tuple(serial.step_from_dict(s) for s in data["steps"]),
        outputs=tuple(str(o) for o in data["outputs"]),
        transforms=transforms,
        vectors=group("vector/"),
        packings={k: (str(source), packings[k]) for k, source in data["packings"].items()},
        predicted_rms_error=float(data["predicted_rms_error"]),
        bootstrap=serial.bootstrap_from_dict(data["bootstrap"]),
        flood_bits=int(data["flood_bits"]),
    )
