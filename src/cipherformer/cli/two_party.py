"""`two-party`, `party`, `dealer` and `certs`: inference between two parties with a dealer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.build import PROFILES
from cipherformer.cli import model as models
from cipherformer.cli.build import Shape as Sizes
from cipherformer.cli.generation import RANDOM_TEXTS, Continuation
from cipherformer.cli.output import console_for, json_option, print_table, write_json
from cipherformer.errors import DataError
from cipherformer.ops import ring_masked
from cipherformer.ops.ring_published import FIXES, SETS
from cipherformer.passes.answer import argmax_only, private_lookup
from cipherformer.passes.truncate import POLICIES
from cipherformer.report import two_party as report
from cipherformer.serve.two_party.relay import Shape

if TYPE_CHECKING:
    from cipherformer.capture.pretrained import Loaded

_SEMI_HONEST = """Security: semi-honest. Server and client follow the protocol and learn nothing beyond
shapes, lengths and the answer (the client's alone); the dealer sees neither weights nor inputs and must
collude with nobody."""


class Network(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """`80,100`: milliseconds there and back, and megabits a second in each direction."""

    name = "MS,MBIT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shape:
        """Reads the text."""
        if isinstance(value, Shape):
            return value
        try:
            milliseconds, megabits = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not MS,MBIT such as 80,100", param, ctx)
        if milliseconds < 0.0 or megabits <= 0.0:
            self.fail(f"{value!r} is no network", param, ctx)
        return Shape(milliseconds / 2000.0, megabits * 125_000.0)


@click.command(
    "two-party", help=f"Ask MODEL in private: dealer, server and client as processes.\n\n{_SEMI_HONEST}"
)
@click.option("--model", required=True, help="PACKAGE.MODULE:FACTORY, or a folder of transformers.")
@click.option("--text", help="A text, for a model folder with a tokenizer.")
@click.option(
    "--input",
    "input_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Inputs (.npy, .npz), or `tokens` [n, L] for a text model.",
)
@click.option(
    "--calibrate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Typical inputs, for the ranges. Default: random tokens for a text model, else the inputs.",
)
@click.option("--limit", type=click.IntRange(1), default=4, show_default=True, help="Most inputs to ask.")
@click.option("--shape", type=Sizes(), help="Shape of one input, if the factory gives no example input.")
@click.option("--frac-bits", type=click.IntRange(8, 20), default=16, show_default=True)
@click.option("--margin", type=float, default=0.25, show_default=True, help="By which ranges are widened.")
@click.option(
    "--protocol",
    type=click.Choice(PROFILES),
    default="masked",
    show_default=True,
    help="How values are held: masked wires, additive shares, or a published set's functions on shares.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="every",
    show_default=True,
    help="Where truncations stand; on additive shares each is an opening.",
)
@click.option(
    "--functions",
    type=click.Choice([ring_masked.SET, "default", *SETS]),
    help="Approximations: those for masked wires, those of `emulate`, or a published set. Default: what goes"
    " with the protocol.",
)
@click.option(
    "--generate", type=click.IntRange(1), help="Continue the text by so many tokens, printed one by one."
)
@click.option(
    "--answer",
    type=click.Choice(["all", "argmax"]),
    default="all",
    show_default=True,
    help="What the client learns: the output, or the number of its largest entry alone.",
)
@click.option(
    "--lookup",
    type=click.Choice(["public", "private"]),
    default="public",
    show_default=True,
    help="Embeddings of tokens: the client has the table, or the server keeps it.",
)
@click.option(
    "--network",
    type=Network(),
    help="Simulate one between client and server: round trip in ms and Mbit/s, e.g. 80,100.",
)
@click.option(
    "--epochs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep masked weights here, opened once for all runs of a program: give --calibrate, so that it is"
    " the same.",
)
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), help="Keep keys, program and logs here."
)
@json_option
def two_party(
    model: str,
    text: str | None,
    input_path: Path | None,
    calibrate: Path | None,
    limit: int,
    shape: tuple[int, ...] | None,
    frac_bits: int,
    margin: float,
    protocol: str,
    policy: str,
    functions: str | None,
    generate: int | None,
    answer: str,
    lookup: str,
    network: Shape | None,
    epochs: Path | None,
    work: Path | None,
    json_path: str | None,
) -> None:
    """Captures, compiles, runs three processes and compares with the plaintext model."""
    from cipherformer.backends.mpc2.build import build
    from cipherformer.capture import capture
    from cipherformer.capture.text import vocabulary_size
    from cipherformer.serve.two_party.local import run_locally

    console = console_for(json_path)
    if (text is None) == (input_path is None):
        raise DataError("give either --text or --input")
    tokens = _tokens(model, text, input_path)
    if tokens is None and (generate or lookup == "private"):
        raise DataError(
            "--generate and --lookup private need tokens", fix="give --text, or `tokens` in --input"
        )
    private = lookup == "private"
    length = tokens.shape[1] + (generate or 1) - 1 if tokens is not None else 1
    loaded = models.load_model(model, shape=shape, tokens=length)
    with console.status(f"capturing {model}"):
        graph = capture(loaded.module, loaded.example_inputs, name=loaded.name)
    options: dict[str, Any] = {
        "method": {None: "", "default": "ring"}.get(functions, f"ring.{functions}"),
        "protocol": protocol,
        "policy": policy,
        "frac_bits": frac_bits,
        "margin": margin,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        if generate and tokens is not None:
            job = Continuation(model, loaded, graph, tokens[:limit], generate, private)
            with console.status("compiling"):
                chain = job.built(_tokens("", None, calibrate), answer == "argmax", options)
            found = job.run(chain, console, folder, network=network, epochs=epochs)
            for table in found.tables():
                print_table(console, table)
            write_json({"model": model, **found.record()}, json_path)
            return
        if private:
            graph = private_lookup(graph, _embedded(loaded, np.arange(vocabulary_size(loaded))[None])[0])
        shapes = {node.name: node.type.shape for node in graph.inputs}
        samples = _samples(loaded, shapes, tokens, input_path, private)[:limit]
        typical = _typical(loaded, shapes, calibrate, tokens, samples, private)
        if answer == "argmax":
            graph = argmax_only(graph)
        with console.status("compiling"):
            compiled = build(graph, typical, **options).compiled
        inputs = {name: np.concatenate([sample[name] for sample in samples]) for name in shapes}
        with console.status("dealer, server and client run"):
            run = run_locally(compiled, inputs, folder, network=network, epochs=epochs)
    result = report.summary(graph, compiled, samples, run.outputs, run.reports)
    for table in report.tables(result):
        print_table(console, table)
    mended = FIXES.get(functions or protocol, ())
    for fix in mended:
        console.print(f"other than published: {fix}")
    write_json({"model": model, "protocol": protocol, "mended": mended, **result.record()}, json_path)


def _tokens(model: str, text: str | None, path: Path | None) -> NDArray[np.int64] | None:
    """Token ids [n, L] of a text, or of a file that has them."""
    if text is not None:
        from cipherformer.capture.text import token_ids

        return token_ids(Path(model), text)
    arrays = models.read_arrays(path) if path else {}
    return arrays["tokens"].astype(np.int64) if "tokens" in arrays else None


def _samples(
    loaded: Loaded,
    shapes: dict[str, tuple[int, ...]],
    tokens: NDArray[np.int64] | None,
    path: Path | None,
    private: bool,
) -> list[dict[str, NDArray[Any]]]:
    if tokens is not None and private:
        (shape,) = shapes.values()
        return models.split_samples({"": np.eye(shape[-1])[tokens]}, shapes, "the tokens")
    if tokens is not None:
        return models.split_samples({"": _embedded(loaded, tokens)}, shapes, "the tokens")
    return models.split_samples(models.read_arrays(path), shapes, str(path)) if path else []


def _typical(
    loaded: Loaded,
    shapes: dict[str, tuple[int, ...]],
    path: Path | None,
    tokens: NDArray[np.int64] | None,
    samples: list[dict[str, NDArray[Any]]],
    private: bool,
) -> list[dict[str, NDArray[Any]]]:
    """Samples for calibration: from a file, random tokens, or the inputs themselves."""
    if path is not None:
        found = _tokens("", None, path)
        return _samples(loaded, shapes, found, path, private)
    if tokens is None:
        return samples
    from cipherformer.capture.text import vocabulary_size

    size = vocabulary_size(loaded)
    drawn = np.random.default_rng(0).integers(0, size, size=(RANDOM_TEXTS, tokens.shape[1]))
    return _samples(loaded, shapes, drawn, None, private) + samples


def _embedded(loaded: Loaded, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    from cipherformer.capture.pretrained import embedded

    return embedded(loaded, tokens)


@click.command(
    help=f"Run the server or the client of a two-party inference, as a configuration says.\n\n{_SEMI_HONEST}"
)
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def party(config: Path) -> None:
    """Reads the configuration and runs."""
    _run(config, ("server", "client"))


@click.command(help=f"Deal randomness to a server and a client.\n\n{_SEMI_HONEST}")
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def dealer(config: Path) -> None:
    """Reads the configuration and runs."""
    _run(config, ("dealer",))


def _run(path: Path, roles: tuple[str, ...]) -> None:
    from cipherformer.backends.mpc2.ring import keep_memory
    from cipherformer.serve.two_party.config import Config
    from cipherformer.serve.two_party.roles import run_role

    keep_memory()
    config = Config.load(path)
    if config.role not in roles:
        raise DataError(f"this is the configuration of a {config.role}", where=str(path))
    run_role(config, click.echo)


@click.command(
    help="Make a key pair for a role: FOLDER/key.pem stays, FOLDER/certificate.pem goes to the others."
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", default="role", show_default=True, help="Written into the certificate.")
def certs(folder: Path, name: str) -> None:
    """Makes the pair and prints the certificate's fingerprint."""
    from cipherformer.serve.two_party.tls import make_identity

    identity = make_identity(folder, name)
    click.echo(f"{identity.certificate} SHA-256 {identity.fingerprint().hex()}")
