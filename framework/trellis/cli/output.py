"""How the commands print: aligned text for people and `grep`, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

import typer

from trellis.plugins import PluginFailure, Registry
from trellis.types import JSON

JsonFlag: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def echo_json(document: JSON) -> None:
    """Print a document as JSON on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def echo_table(rows: Iterable[Sequence[str]], *, indent: str = "") -> None:
    """Print rows with their columns aligned."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo((indent + "  ".join(map(str.ljust, row, widths))).rstrip())


def warn_of_failures(registry: Registry) -> None:
    """Print one line on stderr for each plugin that could not be loaded."""
    for failure in registry.failures:
        typer.echo(f"warning: {failure}", err=True)


def describe_failure(failure: PluginFailure) -> dict[str, str]:
    """Return a failure as JSON."""
    return {
        "plugin": failure.plugin,
        "distribution": failure.distribution,
        "version": failure.version,
        "phase": failure.phase,
        "error": failure.reason,
    }
