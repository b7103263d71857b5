"""Rules that a program must keep, checked by every role before it runs one.

Widths: an operation modulo 2^n has its operands modulo 2^n at least. Shares are 64 bits wide, and are read as
shares; wires are read as wires. Masks: each opening has its own, since
masks are named by the step's number, and numbers are the places in the program. Order: what a step reads is
known in its round.
"""

from __future__ import annotations

from cipherformer.approx.fourier import integer_waves
from cipherformer.backends.mpc2.program import BITS, PRODUCTS, SHARES, Program, Step
from cipherformer.backends.mpc2.protocols import PROTOCOLS, SHARE_READERS, opens
from cipherformer.backends.mpc2.ring import WORD
from cipherformer.errors import FormatError


def verify(program: Program) -> None:
    """Checks every step.

    Raises:
        FormatError: names the step and the rule.
    """
    known: dict[str, Step] = {}
    ready: dict[str, int] = {}
    turn = -1
    for place, step in enumerate(program.steps):
        if step.op not in PROTOCOLS:
            raise _broken(step, f"no protocol is called {step.op}")
        if step.name in known or step.number != place:
            raise _broken(step, "its name or number is another step's, and so would be its mask")
        if any(name not in known for name in step.inputs):
            raise _broken(step, "it reads what is made later")
        if not 1 <= step.width <= WORD or step.round < turn:
            raise _broken(step, f"a width of {step.width} bits in round {step.round}")
        turn = step.round
        if any(ready[name] > step.round for name in step.inputs):
            raise _broken(step, "it reads what is opened in its own round")
        if why := _width(step, [known[name] for name in step.inputs]):
            raise _broken(step, why)
        known[step.name] = step
        ready[step.name] = step.round + (opens(step) and step.op != "weight")
    if any(name not in known or not known[name].op.endswith("reveal") for name in program.outputs):
        raise FormatError("an output that is not revealed to the client alone", where=program.name)
    if len(program.outputs) != sum(step.op.endswith("reveal") for step in program.steps):
        raise FormatError("something is revealed that is no output", where=program.name)


def _width(step: Step, inputs: list[Step]) -> str:
    """Why the operands' rings do not fit, or nothing."""
    if wrong := [x.name for x in inputs if not _held(step, x)]:
        return f"{wrong[0]} is not held as the protocol reads it"
    if step.op.startswith(SHARES) and step.width != WORD:
        return f"shares of {step.width} bits"
    widths = [x.width for x in inputs]
    match step.op.removeprefix(SHARES):
        case "trunc" if step.op.startswith(SHARES):
            good = widths == [step.width] == [WORD] and 0 < step.attrs["bits"] <= WORD - 2
        case "open":
            good = widths == [WORD] and step.width <= WORD
        case "trunc":
            good = widths == [step.width + step.attrs["bits"]] and step.attrs["bits"] > 0
        case "extend":
            good = widths == [step.attrs["narrow"]] and 2 < step.attrs["narrow"] < step.width
        case "compare":
            good = widths[0] >= step.attrs["compared"] >= 2
        case "fourier":
            good = widths[0] >= integer_waves(step.attrs, step.attrs["operand_bits"]).log_size
        case "gate":
            good = widths[0] >= step.width and inputs[1].op == "bit"
        case "lookup" | "bit" | "merge":
            good = inputs[0].op in BITS
        case "product" | "weighted":
            good = min(widths) >= step.width and step.attrs["product"] in PRODUCTS
        case "reveal":
            good = widths == [step.width]
        case _:
            good = all(width >= step.width for width in widths)
    return "" if good else f"operands of {widths} bits do not fit its {step.width}"


def _held(step: Step, operand: Step) -> bool:
    """Whether an operand is shares where shares are read, and a wire or bits elsewhere."""
    reads_shares = step.op == "open" or step.op in SHARE_READERS
    return operand.op.startswith(SHARES) == reads_shares


def _broken(step: Step, why: str) -> FormatError:
    return FormatError(
        f"step {step.name} ({step.op}) breaks a rule of two-party programs", where=step.origin, why=why
    )
