"""What a client needs of a plan: parameters, keys, how inputs are packed and answers read. No weights."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import DataError, FormatError
from cipherformer.plan import serial
from cipherformer.targets.ckks import CkksTarget

VERSION = 4
_MAX_SLOTS = 1 << 16


@dataclass(frozen=True, eq=False, slots=True)
class InputSpec:
    """One ciphertext of a query.

    Args:
        name: of the input step.
        source: the model's input that it carries.
        shape: of that input.
        low, high: range that the model was calibrated for.
        level, scale: to encrypt at.
        packing: [slots] flat element of the input for each slot, -1 for 0.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    low: float
    high: float
    level: int
    scale: float
    packing: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class OutputSpec:
    """One ciphertext of an answer.

    Args:
        name: of the output, or of a ciphertext of its stack.
        shape: of the whole output.
        level: of the ciphertext.
        slots: that are read.
        elements: flat elements of the output in them.
    """

    name: str
    shape: tuple[int, ...]
    level: int
    slots: NDArray[np.int64]
    elements: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Signature:
    """All that a client needs.

    Args:
        name: of the model.
        fingerprint: of the plan.
        target: ring and primes.
        rotations: (steps, level) of each rotation key.
        relinearise: level of the relinearisation key, -1 for none.
        inputs, outputs: ciphertexts of a query and an answer, in order.
        conjugate: level of the conjugation key, -1 for none.
        raised: level that bootstrapping raises the modulus to, -1 for none.
        flood_bits: answers are re-randomised under an error of +-2^flood_bits; -1: they are not.
    """

    name: str
    fingerprint: str
    target: CkksTarget
    rotations: tuple[tuple[int, int], ...]
    relinearise: int
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    conjugate: int = -1
    raised: int = -1
    flood_bits: int = -1

    @property
    def key_levels(self) -> dict[str, int]:
        """Level of each evaluation key, by its name: `relinearise`, `conjugate`, `encapsulate`,
        `decapsulate`, `rotate-STEPS`; `public` (the level says nothing) to re-randomise answers."""
        levels = {"relinearise": self.relinearise, "conjugate": self.conjugate}
        if self.raised >= 0:
            levels |= {"encapsulate": 0, "decapsulate": self.raised}
        if self.flood_bits >= 0:
            levels["public"] = 0
        levels |= {f"rotate-{steps}": level for steps, level in self.rotations}
        return {name: level for name, level in levels.items() if level >= 0}

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the evaluation keys."""
        return tuple(self.key_levels)

    @property
    def parameters(self) -> str:
        """SHA-256 of ring and primes, in hexadecimal."""
        return hashlib.sha256(
            json.dumps(serial.target_to_dict(self.target), sort_keys=True).encode()
        ).hexdigest()

    def pack(self, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> list[NDArray[np.float64]]:
        """Slots of every ciphertext of a query.

        Args:
            x: the model's input, or one array for each of its inputs. A batch may have fewer inputs than the
                plan takes: the last one is repeated.

        Raises:
            DataError: wrong shape, NaN, or a value outside the calibrated range.
        """
        sources = list(dict.fromkeys(i.source for i in self.inputs))
        given = x if isinstance(x, Mapping) else {sources[0]: x}
        if set(given) != set(sources):
            raise DataError(f"inputs {sorted(given)} given", why=f"the model takes {sources}")
        checked = {i.source: _checked(given[i.source], i) for i in self.inputs}
        return [
            np.where(i.packing >= 0, checked[i.source].reshape(-1)[np.maximum(i.packing, 0)], 0.0)
            for i in self.inputs
        ]

    def unpack(self, slots: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """The model's (first) output from the decrypted slots."""
        if len(slots) != len(self.outputs):
            raise DataError(
                f"{len(slots)} ciphertexts in the answer", why=f"{len(self.outputs)} are expected"
            )
        out = np.zeros(prod(self.outputs[0].shape))
        stem = self.outputs[0].name.partition("[")[0]
        for spec, values in zip(self.outputs, slots, strict=True):
            if spec.name.partition("[")[0] == stem:
                out[spec.elements] = np.real(values)[spec.slots]
        return out.reshape(self.outputs[0].shape)

    def to_json(self) -> str:
        """As text; slot maps are compressed."""
        data = {
            "version": VERSION,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "target": serial.target_to_dict(self.target),
            "rotations": [list(r) for r in self.rotations],
            "relinearise": self.relinearise,
            "conjugate": self.conjugate,
            "raised": self.raised,
            "flood_bits": self.flood_bits,
            "inputs": [
                {
                    "name": i.name,
                    "source": i.source,
                    "shape": list(i.shape),
                    "low": i.low,
                    "high": i.high,
                    "level": i.level,
                    "scale": i.scale,
                    "packing": _squeeze(i.packing),
                }
                for i in self.inputs
            ],
            "outputs": [
                {
                    "name": o.name,
                    "shape": list(o.shape),
                    "level": o.level,
                    "slots": _squeeze(o.slots),
                    "elements": _squeeze(o.elements),
                }
                for o in self.outputs
            ],
        }
        return json.dumps(data, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Signature:
        """From text.

        Raises:
            FormatError: if it is not a signature.
        """
        try:
            return _parse(json.loads(text))
        except (*serial.MALFORMED, zlib.error) as error:
            raise FormatError(
                "not a signature", why=repr(error), fix="get it from the server again"
            ) from error

    def save(self, path: str | Path) -> Path:
        """Write it to a file."""
        Path(path).write_text(self.to_json())
        return Path(path)

    @staticmethod
    def load(path: str | Path) -> Signature:
        """Read it from a file.

        Raises:
            FormatError: if the file is missing or not a signature.
        """
        try:
            return Signature.from_json(Path(path).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError("no readable signature", where=str(path), why=str(error)) from error


def _checked(x: NDArray[Any], spec: InputSpec) -> NDArray[np.float64]:
    try:
        value = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("the input is not an array of numbers", where=spec.source, why=str(error)) from error
    rows, batch = value.shape[0] if value.ndim else 0, spec.shape[0]
    if 0 < rows < batch and value.shape[1:] == spec.shape[1:]:
        value = np.concatenate([value, np.repeat(value[-1:], batch - rows, axis=0)])
    if value.shape != spec.shape:
        if value.size != prod(spec.shape) or value.shape != spec.shape[1:]:
            raise DataError(f"shape {value.shape}", where=spec.source, why=f"the model takes {spec.shape}")
        value = value.reshape(spec.shape)
    if not np.isfinite(value).all():
        raise DataError("the input has NaN or infinite values", where=spec.source, fix="clean it first")
    if value.min() < spec.low or value.max() > spec.high:
        raise DataError(
            f"values in [{value.min():.4g}, {value.max():.4g}]",
            where=spec.source,
            why=f"the plan was calibrated for [{spec.low:.4g}, {spec.high:.4g}]; outside, values explode",
            fix="scale the input as in training, or calibrate on a wider sample and compile again",
        )
    return value


def _squeeze(a: NDArray[np.int64]) -> str:
    return base64.b64encode(zlib.compress(a.astype("<i4").tobytes(), 9)).decode()


def _expand(text: str, limit: int) -> NDArray[np.int64]:
    raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 4 * limit + 1)
    if len(raw) > 4 * limit or len(raw) % 4:
        raise ValueError("a slot map of a wrong length")
    return np.frombuffer(raw, dtype="<i4").astype(np.int64)


def _parse(d: Mapping[str, Any]) -> Signature:
    if d["version"] != VERSION:
        raise ValueError(f"version {d['version']}, this release reads {VERSION}")
    target = serial.target_from_dict(d["target"])
    if not 2 <= target.log_n <= 17:
        raise ValueError(f"log_n {target.log_n}")
    inputs = []
    for i in d["inputs"]:
        packing, shape = _expand(i["packing"], _MAX_SLOTS), tuple(int(n) for n in i["shape"])
        if len(packing) != target.slots or packing.max() >= prod(shape) or packing.min() < -1:
            raise ValueError("a packing that does not fit its input")
        numbers = {k: float(i[k]) for k in ("low", "high", "scale")}
        inputs.append(
            InputSpec(
                name=str(i["name"]),
                source=str(i["source"]),
                shape=shape,
                level=int(i["level"]),
                packing=packing,
                **numbers,
            )
        )
    outputs = []
    for o in d["outputs"]:
        slots, shape = _expand(o["slots"], _MAX_SLOTS), tuple(int(n) for n in o["shape"])
        elements = _expand(o["elements"], _MAX_SLOTS)
        if len(slots) != len(elements) or slots.min() < 0 or slots.max() >= target.slots:
            raise ValueError("an output that does not fit its ciphertext")
        if elements.min() < 0 or elements.max() >= prod(shape):
            raise ValueError("an output with elements that it does not have")
        outputs.append(OutputSpec(str(o["name"]), shape, int(o["level"]), slots, elements))
    return Signature(
        name=str(d["name"]),
        fingerprint=str(d["fingerprint"]),
        target=target,
        rotations=tuple((int(s), int(level)) for s, level in d["rotations"]),
        relinearise=int(d["relinearise"]),
        conjugate=int(d["conjugate"]),
        raised=int(d["raised"]),
        flood_bits=int(d["flood_bits"]),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )
