"""The command line. Each command imports what it needs when it runs, so `trellis --help` stays quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from trellis import __version__
from trellis.cli import plugins, run, spec, sql_explore, sql_memory
from trellis.errors import SpecError, TrellisError

COMMANDS: tuple[Callable[..., None], ...] = (
    spec.init,
    spec.check,
    spec.fill,
    spec.schema,
    run.run,
    run.solve,
)
"""The commands beside `trellis plugins`, named by their functions, in the order of `trellis --help`."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
for command in COMMANDS:
    app.command()(command)
app.add_typer(plugins.app, name="plugins")
sql_memory.app.command()(sql_explore.explore)
app.add_typer(sql_memory.app, name="sql")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trellis {__version__}")
        raise typer.Exit


@app.callback()
def trellis(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train a language-model policy and a step-level reward together, and let that reward steer search."""


def main() -> None:
    """Run the command line: an error of Trellis is a message, with its traceback if `TRELLIS_TRACEBACK=1`."""
    try:
        app()
    except TrellisError as error:
        if os.environ.get("TRELLIS_TRACEBACK") == "1":
            raise
        for line in _message(error):
            typer.echo(line, err=True)
        sys.exit(1)


def _message(error: TrellisError) -> list[str]:
    notes = getattr(error, "__notes__", [])
    if isinstance(error, SpecError):
        count = len(error.problems)
        return [*map(str, error.problems), *notes, f"error: {count} problem{'s' if count != 1 else ''} found"]
    return [f"error: {error}", *notes]
