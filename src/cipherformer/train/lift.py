"""Functional calls become modules, so that `swap` sees them and hooks can observe them.

Models write `F.relu(x)`, `scores.softmax(-1)` or a call of the attention interface of Hugging Face
transformers as often as they write modules. `lift` gives a copy in which each such call goes through a
module of its own, with the same function and the same weights; their paths end in `lifted_relu_0`,
`lifted_softmax_0` and so on.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from cipherformer.capture.export import evaluation
from cipherformer.errors import ModelError
from cipherformer.nn.attention import DotProductAttention, Softmax
from cipherformer.train.hf_attention import lift_attention

LOWEST_SCORE = -1e30
"""Scores below this are an additive mask."""


def _softmax(x: Tensor, dim: int | None = None, *_: Any, **__: Any) -> nn.Module | None:
    return Softmax() if x.dim() >= 3 and dim in (-1, x.dim() - 1) else None


def _plain(build: Callable[[], nn.Module]) -> Callable[..., nn.Module | None]:
    return lambda *_, **__: build()


def _gelu(x: Tensor, *, approximate: str = "none") -> nn.Module:
    return nn.GELU(approximate)


def _max_pool(x: Tensor, *args: Any, **kwargs: Any) -> nn.Module:
    return nn.MaxPool2d(*args, **kwargs)


def _dot_product(*_: Any, scale: float | None = None, enable_gqa: bool = False, **__: Any) -> nn.Module:
    return DotProductAttention(scale=scale, grouped=enable_gqa)


_KINDS: dict[str, tuple[tuple[Any, ...], Callable[..., nn.Module | None]]] = {
    "relu": ((F.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_), _plain(nn.ReLU)),
    "gelu": ((F.gelu,), _gelu),
    "silu": ((F.silu,), _plain(nn.SiLU)),
    "softmax": ((F.softmax, torch.softmax, Tensor.softmax), _softmax),
    "max_pool": ((F.max_pool2d, torch.max_pool2d), _max_pool),
    "attention": ((F.scaled_dot_product_attention,), _dot_product),
}
_KIND_OF: dict[Any, str] = {
    function: kind for kind, (functions, _) in _KINDS.items() for function in functions
}

LEAVES = (
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Softmax,
    nn.MaxPool2d,
    nn.MultiheadAttention,
    Softmax,
    DotProductAttention,
)
"""Modules that `swap` replaces as they are: what they call inside is theirs."""

WRITTEN_OUT = ("NewGELUActivation", "FastGELUActivation", "GELUTanh")
"""Classes of transformers that spell the tanh form of GELU as arithmetic."""

_running: list[nn.Module | None] = []


class _Redirect(TorchFunctionMode):
    """Sends the calls that `owner.forward` itself makes to the modules that stand for them."""

    def __init__(self, owner: Any) -> None:
        super().__init__()
        self._owner, self._count = owner, Counter[str]()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind, modules = _KIND_OF.get(function), self._owner._modules
        if kind is None or _running[-1] is not self._owner:
            return function(*args, **(kwargs or {}))
        name = f"lifted_{kind}_{self._count[kind]}"
        self._count[kind] += 1
        stands = modules.get(name)
        if stands is None:
            return function(*args, **(kwargs or {}))
        if kind == "attention":
            return stands(*args, **(kwargs or {}))
        return stands(args[0] if args else (kwargs or {})["input"])


class _Lifted:
    """Mixed into the class of a module whose `forward` calls functions that were lifted."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _inside(self), _Redirect(self):  # type: ignore[arg-type]
            return super().forward(*args, **kwargs)  # type: ignore[misc]


@contextmanager
def _inside(module: nn.Module | None) -> Iterator[None]:
    depth = len(_running)
    _running.append(module)
    try:
        yield
    finally:
        del _running[depth:]


class _Discovery(TorchFunctionMode):
    """Notes which module makes which calls, in order, and with what module each can be exchanged."""

    def __init__(self, stack: list[nn.Module]) -> None:
        super().__init__()
        self._stack = stack
        self.found: dict[nn.Module, list[tuple[str, nn.Module | None]]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind = _KIND_OF.get(function)
        owner = self._stack[-1] if self._stack else None
        if kind is not None and owner is not None and not isinstance(owner, LEAVES):
            made = _KINDS[kind][1](*args, **(kwargs or {}))
            if kind == "softmax" and made is not None and bool((args[0] < LOWEST_SCORE).any()):
                raise ModelError(
                    "softmax over scores with an additive mask, called as a function",
                    where=type(owner).__name__,
                    why="private forms multiply their mask, so they need it apart from the scores",
                    fix="call torch's scaled_dot_product_attention, or use transformers' attention interface",
                )
            self.found.setdefault(owner, []).append((kind, made))
        return function(*args, **(kwargs or {}))


def lift(model: nn.Module, *example_inputs: Tensor) -> nn.Module:
    """A copy in which functional activations, softmax, pooling and attention are modules; it computes the
    same.

    Args:
        model: left as it is. Its forward must make the same calls each time, as capturing asks for too.
        example_inputs: run once through the copy, in evaluation mode and without gradients.

    Raises:
        ModelError: attention that cannot be taken apart.
    """
    model = copy.deepcopy(model)
    lift_attention(model, example_inputs)
    for name, module in list(model.named_modules()):
        if name and type(module).__name__ in WRITTEN_OUT:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, nn.GELU("tanh"))
    stack: list[nn.Module] = []
    discovery = _Discovery(stack)
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda m, _: stack.append(m)))
        handles.append(module.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))
    try:
        with evaluation(model), torch.no_grad(), discovery:
            model(*example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    for owner, calls in discovery.found.items():
        _lift_calls(owner, calls)
    return model


def _lift_calls(owner: nn.Module, calls: list[tuple[str, nn.Module | None]]) -> None:
    count = Counter[str]()
    for kind, made in calls:
        if made is not None:
            owner.add_module(f"lifted_{kind}_{count[kind]}", made.train(owner.training))
        count[kind] += 1
    for child in owner.children():
        if isinstance(child, LEAVES):
            child.register_forward_pre_hook(lambda *_: _running.append(None))
            child.register_forward_hook(lambda *_: _running.pop(), always_call=True)
    cls = type(owner)
    if not issubclass(cls, _Lifted):
        owner.__class__ = type(cls.__name__, (_Lifted, cls), {"__module__": cls.__module__})
