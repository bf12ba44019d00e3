"""`trellis plugins`: what is installed, what it offers, what is wrong with it. Broken plugins do not hinder it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import typer

from trellis.cli.doctor import doctor
from trellis.cli.output import JsonFlag, describe_failure, echo_json, echo_table
from trellis.cli.show import show
from trellis.component import KINDS
from trellis.errors import MissingExtraError, PluginError, did_you_mean
from trellis.plugins import RegisteredComponent, discover, installed_entry_points
from trellis.plugins.settings import disabled_by_variable, disabled_in_file, settings_file, write_disabled

PluginName = Annotated[str, typer.Argument(metavar="PLUGIN", help="The plugin's name.")]


def list_plugins(json: JsonFlag = False) -> None:
    """List the components, disabled plugins and failures."""
    registry = discover(strict=False)
    components = [
        {
            "id": found.id,
            "kind": found.kind,
            "summary": found.record.summary,
            "distribution": found.distribution,
            "version": found.version,
            "status": _status(found),
        }
        for found in sorted(registry.components().values(), key=lambda found: found.id)
    ]
    failures = [describe_failure(failure) for failure in registry.failures]
    if json:
        plugins = [dataclasses.asdict(info) for info in registry.plugins]
        echo_json({"components": components, "plugins": plugins, "failures": failures})
        return
    for kind in KINDS:
        rows = [row for row in components if row["kind"] == kind]
        _section(kind, [(r["id"], r["summary"], f"{r['distribution']} {r['version']}", r["status"]) for r in rows])
    disabled = [info for info in registry.plugins if info.status == "disabled"]
    _section(
        "disabled", [(i.name, f"{i.distribution} {i.version}", f"trellis plugins enable {i.name}") for i in disabled]
    )
    _section("failed", [tuple(failure.values()) for failure in failures])


def check(
    component: Annotated[str, typer.Argument(metavar="ID", help="The component's id or name.")], json: JsonFlag = False
) -> None:
    """Run the conformance kit on a component.

    The exit code is 1 if a check fails.
    """
    from trellis.testing import check_component

    results = check_component(component)
    failed = [result for result in results if result.passed is False]
    if json:
        echo_json(
            [{"id": each.id, "passed": each.passed, "message": each.message, "why": each.why} for each in results]
        )
    else:
        word = {True: "pass", False: "FAIL", None: "skip"}
        echo_table([(word[r.passed], r.id, r.message if r.passed is None else r.why) for r in results])
        for each in failed:
            typer.echo(f"\n{each.id}: {each.message}")
    raise typer.Exit(code=1 if failed else 0)


def disable(plugin: PluginName, json: JsonFlag = False) -> None:
    """Stop a plugin from being loaded.

    No plugin is imported to do so.
    """
    installed = {point.name for point in installed_entry_points()}
    if plugin not in installed:
        raise PluginError(f"no plugin is named '{plugin}'{did_you_mean(plugin, installed)}")
    write_disabled(disabled_in_file() | {plugin})
    _echo_disabled(f"'{plugin}' is disabled", json=json)


def enable(plugin: PluginName, json: JsonFlag = False) -> None:
    """Let a disabled plugin be loaded again.

    No plugin is imported to do so.
    """
    disabled = disabled_in_file()
    if plugin not in disabled and plugin in disabled_by_variable():
        raise PluginError(f"'{plugin}' is disabled by TRELLIS_DISABLE_PLUGINS: take it out of that variable")
    if plugin not in disabled:
        raise PluginError(f"'{plugin}' is not disabled{did_you_mean(plugin, disabled)}")
    write_disabled(disabled - {plugin})
    _echo_disabled(f"'{plugin}' is enabled", json=json)


def _echo_disabled(message: str, *, json: bool) -> None:
    if json:
        echo_json({"disabled": sorted(disabled_in_file()), "file": str(settings_file())})
    else:
        typer.echo(f"{message}, as {settings_file()} says")


def _status(found: RegisteredComponent) -> str:
    try:
        found.check_extra()
    except MissingExtraError as error:
        return f"needs: {error.install}"
    return "ok"


def _section(title: str, rows: Sequence[Sequence[str]]) -> None:
    if rows:
        typer.echo(title)
        echo_table(rows, indent="  ")


app = typer.Typer(no_args_is_help=True, help="List, describe, check and disable plugins.")
app.command("list")(list_plugins)
for command in (show, check, doctor, disable, enable):
    app.command()(command)
