"""How the commands print: rich tables for people, JSON for programs, one block for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from cipherformer.errors import CipherformerError
from cipherformer.report.table import Table

F = TypeVar("F", bound=Callable[..., Any])
USER_ERROR = 2
WIDTH_OF_FILES = 110


class ErrorGroup(click.Group):
    """Prints the library's errors as one block, and ends with code 2, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except CipherformerError as error:
            found = error
        except OSError as error:
            found = CipherformerError(error.strerror or str(error), where=str(error.filename or ""))
        print_error(found)
        return ctx.exit(USER_ERROR)


def print_error(error: CipherformerError) -> None:
    """What, where, why and fix, as one block on the error stream."""
    grid = RichTable.grid(padding=(0, 1))
    grid.add_row(Text("what", style="cyan"), Text(error.what, style="bold"))
    for label, part in (("where", error.where), ("why", error.why), ("fix", error.fix)):
        if part:
            grid.add_row(Text(label, style="cyan"), Text(part))
    panel = Panel(grid, title="error", title_align="left", border_style="red", padding=(0, 1))
    Console(stderr=True).print(panel)


def json_option(command: F) -> F:
    """The option `--json FILE`; `-` writes to the standard output, and the tables to the error stream."""
    return click.option(
        "--json",
        "json_path",
        metavar="FILE",
        help="Also write the result as JSON to FILE, or to - for stdout.",
    )(command)


def console_for(json_path: str | None) -> Console:
    """Where tables go: not where JSON goes."""
    stream = sys.stderr if json_path == "-" else sys.stdout
    width = None if stream.isatty() else WIDTH_OF_FILES
    return Console(file=stream, highlight=False, width=width)


def write_json(data: Any, json_path: str | None) -> None:
    """Writes a result as JSON, if the user asked for it."""
    if json_path is None:
        return
    text = json.dumps(data, indent=1) + "\n"
    if json_path == "-":
        sys.stdout.write(text)
    else:
        Path(json_path).parent.mkdir(parents=True, exist_ok=True)
        Path(json_path).write_text(text)


def print_table(console: Console, table: Table) -> None:
    """A table of texts, with a footer set off."""
    grid = RichTable(title=table.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in table.columns:
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        grid.add_column(name.removeprefix(">"), justify=justify, overflow="fold")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    if table.footer:
        grid.add_section()
        grid.add_row(*map(Text, table.footer), style="bold")
    console.print(grid)


@contextmanager
def progress_bar(console: Console, *, counted: bool = True) -> Iterator[Progress]:
    """A progress bar that disappears when it is done.

    Args:
        console: where to draw.
        counted: shows `3/10` instead of a percentage.
    """
    amount = MofNCompleteColumn() if counted else TaskProgressColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
