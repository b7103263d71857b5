"""Models of real sizes with random weights: a decoder of over a billion parameters, deep CNNs, a Swin."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import training_small as small
from benchmarks.training_place import Place, Row, Study, text_data
from cipherformer.capture import capture
from cipherformer.train.build import Swapper
from cipherformer.train.data import Data
from cipherformer.train.memory import wide_products
from cipherformer.train.price import prices
from cipherformer.train.recipes import recipe
from cipherformer.train.stage import Conversion, Stage

GIB = 2.0**30
STEPS = 5


def peak_gib() -> float:
    """Largest memory that this process has had, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


@contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """New tensors are of this type while open."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def billion(place: Place, layers: int = 32) -> list[Row]:
    """A decoder of 32 layers, 2048 wide: converted, captured block by block, priced, and trained for 5 steps,
    all in bfloat16 with layers computed twice.
    """
    length = 8 if place.quick else 32
    width, layers, inner = (32, 2, 48) if place.quick else (2048, layers, 3072)
    data = text_data(place, length, 16)
    start = time.perf_counter()
    with made_in(torch.bfloat16):
        model = small.decoder(
            vocabulary=256, width=width, layers=layers, tokens=length, heads=width // 16, inner=inner
        )
        model = swapped(model, recipe("default"), data)
    count = float(sum(p.numel() for p in model.parameters()))
    rows: list[Row] = [_row("convert", start, parameters=count)]
    start = time.perf_counter()
    rows.append(
        _row("price", start, **_priced_blocks(model, data)) | {"seconds": time.perf_counter() - start}
    )
    start = time.perf_counter()
    stage = Stage(
        "train",
        epochs=STEPS / len(data.train),
        batch_size=1,
        learning_rate=1e-2,  # smaller steps of bfloat16 weights would round to none
        optimizer="adafactor",
        checkpoint=True,
        clip_norm=1.0,
    )
    losses: list[float] = []
    with wide_products(model):
        optimizer = small.make_optimizer(model, stage)
        small.run_steps(
            model, model, data, stage, optimizer, seed=0, start=0, after=lambda s: losses.append(s.loss)
        )
    seconds = (time.perf_counter() - start) / len(losses)
    rows.append(_row("train", start, first_loss=losses[0], last_loss=losses[-1], seconds_a_step=seconds))
    return rows


def _row(part: str, start: float, **values: float) -> Row:
    return {"part": part, **values, "seconds": time.perf_counter() - start, "peak_gib": peak_gib()}


def swapped(model: nn.Module, conversion: Conversion, data: Data) -> nn.Module:
    """A lifted model with all that a recipe replaces replaced, on two inputs, and not trained; it has the
    weights of the model that is given.
    """
    stage = Stage("swap", replace=tuple(k for s in conversion.stages for k in s.replace))
    inputs = [tuple(t.detach() for t in data.train.first(2).fed(model))]
    with wide_products(model):
        return Swapper(conversion, lambda _: inputs, share=True)(model, stage)[0]


class _Block(nn.Module):
    """A layer of a decoder as a function of its activations alone."""

    def __init__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.layer, self._args, self._kwargs = layer, args, kwargs

    def forward(self, x: Tensor) -> Tensor:
        """Activations to activations."""
        out = self.layer(x, *self._args, **self._kwargs)
        return out if isinstance(out, Tensor) else out[0]


def _priced_blocks(model: nn.Module, data: Data) -> dict[str, float]:
    """Every layer captured in turn, in float32 and forgotten; the first one's price times their number."""
    layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    seen: list[tuple[Tensor, tuple[Any, ...], dict[str, Any]]] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(kwargs)
        seen.append((args[0] if args else given.pop("hidden_states"), args[1:], given))

    handles = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    with torch.no_grad(), wide_products(model):
        model.eval()(*data.test.first(1).fed(model))
    for handle in handles:
        handle.remove()
    nodes, found = 0, {}
    for number, (layer, (x, args, kwargs)) in enumerate(zip(layers, seen, strict=True)):
        block = _Block(copy.deepcopy(layer).float(), *_floats((args, kwargs))).eval()
        if number == 0:
            found = prices(block, x.float(), encrypted=False)["two_party"]
        nodes += len(capture(block, (x.float(),)).nodes)
    times = float(len(layers))
    return {
        "nodes": float(nodes),
        "rounds": times * found["rounds"],
        "online_gigabytes_per_party": times * found["online_bytes_per_party"] / 1e9,
        "predicted_seconds_lan": times * found["predicted_seconds"]["lan"],
        "predicted_seconds_wan": times * found["predicted_seconds"]["wan"],
    }


def _floats(value: Any) -> Any:
    """The same with tensors of half precision as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, tuple):
        return tuple(_floats(v) for v in value)
    return {k: _floats(v) for k, v in value.items()} if isinstance(value, dict) else value


LARGE: Mapping[str, Study] = MappingProxyType(
    {
        "deep-billion": Study("32 layers, 2048 wide: converted, captured, priced, 5 steps", 25.0, billion),
    }
)
