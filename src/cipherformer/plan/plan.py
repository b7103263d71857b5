"""A plan: everything about one private computation, decided. Backends run it and make no choices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import FormatError
from cipherformer.graph import Graph
from cipherformer.graph import serial as graph_serial
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.count import CountAlgebra, Ledger, shadows_of
from cipherformer.kernels.run import execute
from cipherformer.kernels.step import Step
from cipherformer.plan import serial
from cipherformer.plan.estimate import summarise
from cipherformer.plan.signature import InputSpec, OutputSpec, Signature
from cipherformer.targets.bootstrap import BootstrapSet
from cipherformer.targets.ckks import CkksTarget

VERSION = 5
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
        batch: inputs of one query; of a plan of throughput mode all that the slots hold.
        read: output that is a stack -> [ciphertexts, n] slots that the client reads, and the elements of the
            batch's output in them.
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
    batch: int = 1
    read: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)

    @property
    def levels(self) -> int:
        """Levels of the deepest input."""
        return max((s.level for s in self.steps if s.kernel == "input"), default=0)

    @cached_property
    def ledgers(self) -> tuple[Ledger, ...]:
        """Operations and keys of each step, from a run on levels and scales alone."""
        inputs = shadows_of(self.steps)
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
        by_name = {s.name: s for s in self.steps}
        inputs = tuple(i for step in self.steps if step.kernel == "input" for i in self._entries(step))
        outputs = tuple(o for name in self.outputs for o in self._answers(by_name[name]))
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

    def _entries(self, step: Step) -> list[InputSpec]:
        """The ciphertexts of an input step."""
        source, packing = self.packings[step.name]
        known = {n.name: n.type for n in self.graph.inputs}[source]
        rows = packing if step.stack else packing[None]
        return [
            InputSpec(
                name=f"{step.name}[{k}]" if step.stack else step.name,
                source=source,
                shape=self._batched(known.shape),
                low=_number(known.low, -1.0),
                high=_number(known.high, 1.0),
                level=step.level,
                scale=step.scale,
                packing=row,
            )
            for k, row in enumerate(rows)
        ]

    def _answers(self, step: Step) -> list[OutputSpec]:
        """The ciphertexts of an output."""
        if not step.stack:
            slots = step.layout.home_slots()
            return [OutputSpec(step.name, step.layout.shape, step.level, slots, np.arange(len(slots)))]
        shapes = {n.name: n.type.shape for n in self.graph}
        shape = self._batched(shapes[step.name])
        return [
            OutputSpec(f"{step.name}[{k}]", shape, step.level, slots, elements)
            for k, (slots, elements) in enumerate(zip(*self.read[step.name], strict=True))
        ]

    def _batched(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.batch == 1 else (self.batch, *shape[1:])

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
        arrays |= {f"read/{k}": np.stack(both) for k, both in self.read.items()}
        data = {
            "version": VERSION,
            "name": self.name,
            "target": serial.target_to_dict(self.target),
            "bootstrap": serial.bootstrap_to_dict(self.bootstrap),
            "flood_bits": self.flood_bits,
            "batch": self.batch,
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
        batch=int(data["batch"]),
        read={k: (both[0], both[1]) for k, both in group("read/").items()},
    )
