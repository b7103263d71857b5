"""Programs that run one after the other in a session: they share the weights, opened once, and kept wires.

All programs of a chain begin with the same weights in the same order, so that a weight's mask, which is named
by its number, is the same in all of them and no other's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.narrow import Narrow
from cipherformer.backends.mpc2.program import Program, Step
from cipherformer.backends.mpc2.ring import Ring
from cipherformer.backends.mpc2.verify import verify
from cipherformer.errors import CompileError, FormatError


@dataclass(frozen=True, slots=True)
class Chain:
    """Programs with one list of weights.

    Args:
        programs: the first reads a prompt (or is the only one), the others continue.
        weights: the server's integers; empty where they are not known.
    """

    programs: tuple[Program, ...]
    weights: Mapping[str, Ring | Narrow]

    def digest(self) -> bytes:
        """SHA-256 of all that both parties must agree on."""
        if len(self.programs) == 1:
            return self.programs[0].digest()
        return hashlib.sha256(b"".join(program.digest() for program in self.programs)).digest()


def verify_chain(programs: tuple[Program, ...]) -> None:
    """Each program, and that all open the same weights.

    Raises:
        FormatError: names the rule.
    """
    if not programs:
        raise FormatError("a chain of no programs")
    for program in programs:
        verify(program)
        if program.of("weight") != programs[0].of("weight"):
            raise FormatError(
                "programs of a chain differ in their weights",
                where=program.name,
                why="a weight's mask would be another's",
            )
    rings: dict[int, tuple[int, int]] = {}
    for step in (s for program in programs for s in program.steps if s.op in ("keep", "carry")):
        ring = (step.width, step.frac_bits)
        if rings.setdefault(step.attrs["slot"], ring) != ring:
            raise FormatError(f"{step.name} keeps or takes a wire of another ring", where=step.origin)


def linked(parts: Iterable[Compiled]) -> Chain:
    """Compiled programs with their weights joined: equal arrays become one, as wide as its readers need."""
    known: dict[bytes, int] = {}
    steps: list[Step] = []
    arrays: dict[str, Ring | Narrow] = {}
    renamed: list[tuple[Program, dict[str, str]]] = []
    for part in parts:
        names: dict[str, str] = {}
        for step in part.program.of("weight"):
            value = part.weights[step.name]
            key = hashlib.sha256(repr((step.shape, step.frac_bits)).encode() + value.tobytes()).digest()
            at = known.setdefault(key, len(steps))
            if at == len(steps):
                steps.append(replace(step, name=f"weight.{at}"))
                arrays[steps[at].name] = value
            steps[at] = replace(steps[at], width=max(steps[at].width, step.width))
            names[step.name] = steps[at].name
        renamed.append((part.program, names))
    shared = [replace(step, number=i) for i, step in enumerate(steps)]
    programs = tuple(_with_weights(program, names, shared) for program, names in renamed)
    verify_chain(programs)
    return Chain(programs, arrays)


def _with_weights(program: Program, names: Mapping[str, str], shared: list[Step]) -> Program:
    online = [step for step in program.steps if step.op != "weight"]
    moved = (
        replace(step, inputs=tuple(names.get(name, name) for name in step.inputs), number=i)
        for i, step in enumerate(online, start=len(shared))
    )
    return replace(program, steps=(*shared, *moved))


def with_kept(program: Program, caches: Mapping[str, int], widths: Mapping[int, int]) -> Program:
    """Inputs named in `caches` become wires that were kept, outputs behind the first one are kept.

    Args:
        program: whose outputs are an answer and then as many caches as there are widths.
        caches: input -> slot.
        widths: slot -> bits of the wires in it.

    Raises:
        CompileError: a cache has other fraction bits behind the step than before it.
    """
    steps = program.by_name()
    slots = {name: slot for slot, name in enumerate(program.outputs[1:])}
    fraction = {steps[name].frac_bits for name in (*caches, *slots)}
    if len(fraction) > 1:
        raise CompileError("caches of several fraction bits", where=program.name)
    made = []
    for step in program.steps:
        if step.name in caches:
            slot = caches[step.name]
            step = replace(step, op="carry", width=widths[slot], attrs={"slot": slot})
        elif step.name in slots:
            slot = slots[step.name]
            step = replace(step, op="keep", width=widths[slot], attrs={"slot": slot})
        made.append(step)
    return replace(program, steps=tuple(made), outputs=program.outputs[:1])
