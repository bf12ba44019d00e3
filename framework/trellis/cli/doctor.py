"""`trellis plugins doctor`: why a plugin is not there."""

from __future__ import annotations

import importlib.metadata
import json as json_module
import platform
import sys
import tomllib
import traceback
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import typer

from trellis import __version__
from trellis.cli.output import JsonFlag, describe_failure, echo_json, echo_table
from trellis.errors import MissingExtraError
from trellis.hooks import PROJECT
from trellis.plugins import discover, installed_entry_points
from trellis.plugins.settings import disabled_plugins, settings_file


def doctor(json: JsonFlag = False) -> None:
    """Say why a plugin is not there.

    The environment, each failure with its traceback, missing extras and stale installs.
    """
    registry = discover(strict=False)
    points = [
        {"name": point.name, "value": point.value, "distribution": point.dist.name, "version": point.dist.version}
        for point in installed_entry_points()
        if point.dist
    ]
    failures = [
        describe_failure(failure) | {"traceback": "".join(traceback.format_exception(failure.exception))}
        for failure in registry.failures
    ]
    extras = []
    for found in registry.components().values():
        try:
            found.check_extra()
        except MissingExtraError as error:
            extras.append(str(error))
    stale = stale_installs()
    settings = {"file": str(settings_file()), "disabled": sorted(disabled_plugins())}
    environment = {"executable": sys.executable, "python": platform.python_version(), "trellis": __version__}
    if json:
        echo_json(
            {
                **environment,
                "settings": settings,
                "entry_points": points,
                "stale_installs": stale,
                "missing_extras": extras,
                "failures": failures,
            }
        )
        return
    echo_table([*environment.items(), ("settings", str(settings_file()))])
    typer.echo(f"disabled    {', '.join(sorted(disabled_plugins())) or 'none'}")
    typer.echo("\nentry points")
    echo_table([tuple(point.values()) for point in points], indent="  ")
    for title, lines in (("stale installs", stale), ("missing extras", extras)):
        typer.echo(f"\n{title}: {len(lines) or 'none'}")
        for line in lines:
            typer.echo(f"  {line}")
    typer.echo(f"\nfailures: {len(failures) or 'none'}")
    for failure in registry.failures:
        typer.echo(f"\n{failure}\n{''.join(traceback.format_exception(failure.exception))}".rstrip())


def stale_installs() -> list[str]:
    """Return a line for each editable install whose entry points are not those of its `pyproject.toml`.

    An editable install sees a new module at once, a new entry point only when it is installed again.
    """
    lines = []
    for distribution in importlib.metadata.distributions():
        folder = _editable_folder(distribution)
        if folder is None or not (folder / "pyproject.toml").is_file():
            continue
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        declared = project.get("entry-points", {}).get(PROJECT, {})
        installed = {point.name: point.value for point in distribution.entry_points if point.group == PROJECT}
        changed = sorted(name for name, _ in declared.items() ^ installed.items())
        if changed:
            lines.append(f"{distribution.name}: {', '.join(dict.fromkeys(changed))} changed; pip install -e {folder}")
    return lines


def _editable_folder(distribution: importlib.metadata.Distribution) -> Path | None:
    source = json_module.loads(distribution.read_text("direct_url.json") or "{}")
    if not source.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(source["url"]).path))
