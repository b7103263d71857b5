"""From a torch module to a graph: export, import, check. `torch.export` is used here only, as an importer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from cipherformer.capture.aten import HANDLERS
from cipherformer.capture.importer import Importer, op_name
from cipherformer.capture.obstacle import Obstacle, refuse
from cipherformer.capture.public import Secret
from cipherformer.graph import Graph
from cipherformer.graph.verify import verify
from cipherformer.ops import OPS, Composite
from cipherformer.passes.functions import collect_functions

Inputs = tuple[Tensor, ...]
_MOST_ROUNDS = 4


def capture(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    name: str = "",
    public: Mapping[str, Any] | None = None,
) -> Graph:
    """The graph of a module in evaluation mode, at the shapes of the example inputs.

    Args:
        module: any module that `torch.export` can trace.
        example_inputs: positional inputs; they become the graph's secret inputs. The batch axis should be 1.
        name: of the graph; the class name by default.
        public: keyword inputs that are not secret (masks, flags): their values are baked in.

    Returns:
        A graph of stage `captured`: it equals the module to rounding.

    Raises:
        ModelError: everything that stands in the way, at once.
    """
    name = name or type(module).__name__
    graph, obstacles = _import(module, example_inputs, name, public or {})
    if graph is None or obstacles:
        raise refuse(obstacles, name)
    return graph


def check(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    public: Mapping[str, Any] | None = None,
    target: str | None = "ckks",
) -> list[Obstacle]:
    """Every obstacle in a module: what cannot be imported, and what the target has no private form for.

    Args:
        module: as for `capture`.
        example_inputs: as for `capture`.
        public: as for `capture`.
        target: whose private forms are asked for; None asks for importing only.
    """
    graph, obstacles = _import(module, example_inputs, type(module).__name__, public or {})
    if graph is None or target is None:
        return obstacles
    for node in graph.nodes:
        op = OPS[node.op]
        if isinstance(op, Composite) and target not in op.lowerings:
            why = f"it has no private form for {target}"
            obstacles.append(Obstacle(node.origin, f"{node.op} of {list(node.type.shape)}", why, op.fix))
    return obstacles


def _import(
    module: nn.Module, example_inputs: Inputs, name: str, public: Mapping[str, Any]
) -> tuple[Graph | None, list[Obstacle]]:
    program = exported(module, example_inputs, public)
    if isinstance(program, Obstacle):
        return None, [program]
    importer = Importer(name, HANDLERS, tensor_names(program))
    outputs = importer.run(program.graph, program.graph_module, _arguments(program, importer, public))
    flat = [o for o in outputs if o is not None] if isinstance(outputs, (list, tuple)) else [outputs]
    if not any(isinstance(o, Secret) for o in flat):
        why = "the output does not depend on the input"
        return None, [*importer.obstacles, Obstacle("", "a constant model", why, "check the inputs")]
    names = [importer.operand(o) for o in flat if isinstance(o, (Secret, Tensor))]
    graph = collect_functions(importer.build.finish(*dict.fromkeys(names)))
    return (graph if importer.obstacles else verify(graph, "captured")), importer.obstacles


def exported(
    module: nn.Module, example_inputs: Inputs, public: Mapping[str, Any]
) -> ExportedProgram | Obstacle:
    """The exported program with the structure of the model, or what stopped torch.

    Ops that the importer does not know are decomposed by torch, those alone; in-place ops are made
    functional.
    """
    try:
        with evaluation(module), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, example_inputs, dict(public), strict=False)
            for _ in range(_MOST_ROUNDS):  # what an op decomposes into may be foreign too
                foreign = _foreign(program)
                known = torch.export.default_decompositions() if foreign else {}
                table = {op: known[op] for op in foreign if op in known}
                if not table and not any(op._schema.is_mutable for op in foreign):
                    break
                program = program.run_decompositions(table)
            return program
    except (
        Exception
    ) as error:  # torch.export fails in too many ways to name: whatever it says goes to the user
        lines = [line for line in str(error).splitlines() if line.strip()]
        return Obstacle(
            "",
            "torch.export cannot trace the model",
            f"{type(error).__name__}: {lines[0] if lines else ''}",
            "remove control flow that depends on values, and give inputs of the right shape",
        )


def _foreign(program: ExportedProgram) -> set[Any]:
    """Ops without a handler, and ops that change their operand."""
    found = set()
    for node in program.graph.nodes:
        op = node.target
        if isinstance(op, torch._ops.OpOverload) and (op_name(node) not in HANDLERS or op._schema.is_mutable):
            found.add(op)
    return found


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, without torch's fused attention, which exports as one op; restored afterwards."""
    modes = {m: m.training for m in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, training in modes.items():
            part.training = training


def tensor_names(program: ExportedProgram) -> dict[int, str]:
    """Names of the model's tensors by identity."""
    return {id(t): n for n, t in {**program.state_dict, **program.constants}.items() if isinstance(t, Tensor)}


def _arguments(program: ExportedProgram, importer: Importer, public: Mapping[str, Any]) -> Iterator[Any]:
    """Values of the placeholders: weights, then secret inputs, with public ones under their names."""
    baked = iter(torch.utils._pytree.tree_leaves(dict(public)))
    positional = len(
        torch.utils._pytree.tree_leaves(program.example_inputs[0] if program.example_inputs else ())
    )
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    for spec, node in zip(program.graph_signature.input_specs, placeholders, strict=True):
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            tensors = {**program.constants, **program.state_dict}
            yield tensors[str(spec.target)]
        elif spec.kind is InputKind.USER_INPUT and positional > 0:
            positional -= 1
            yield Secret(importer.build.input(node.name, tuple(node.meta["val"].shape)))
        elif spec.kind is InputKind.USER_INPUT:
            yield next(baked)
        else:
            yield program.constants.get(str(spec.target))
