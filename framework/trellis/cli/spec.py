"""`trellis check`, `fill`, `schema` and `init`: pipelines as files. None of them builds or imports a component."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from trellis.cli.output import JsonFlag, echo_json, echo_table, warn_of_failures
from trellis.errors import SpecError

if TYPE_CHECKING:
    from trellis.spec import ComponentSpec, StageSpec

PipelineFile: TypeAlias = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's YAML file.")]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set a value, e.g. components.policy.with.hidden=64. Repeatable."),
]
NoLocalPlugins: TypeAlias = Annotated[
    bool, typer.Option("--no-local-plugins", help="Refuse the Python files that the pipeline names under `plugins`.")
]


def check(
    pipeline: PipelineFile, set_: SetOption = None, no_local_plugins: NoLocalPlugins = False, json: JsonFlag = False
) -> None:
    """Say whether a pipeline is right, and what it will do.

    Every problem is printed with its line and column; the exit code is then 1.
    """
    from trellis.spec import load_pipeline

    try:
        checked = load_pipeline(pipeline, overrides=set_ or (), allow_local_plugins=not no_local_plugins)
    except SpecError as error:
        if json:
            problems = [
                {**dataclasses.asdict(each), "file": str(each.file) if each.file else None, "choices": [*each.choices]}
                for each in error.problems
            ]
            echo_json({"ok": False, "problems": problems})
        else:
            typer.echo(str(error))
        raise typer.Exit(1) from None
    warn_of_failures(checked.registry)
    components = [_describe(checked.components[name]) for name in checked.build_order()]
    stages = [_describe(stage) for stage in checked.stages]
    if json:
        echo_json({"ok": True, "name": checked.name, "components": [*components], "stages": [*stages]})
        return
    counts = f"{_count(len(components), 'component')}, {_count(len(stages), 'stage')}"
    typer.echo(f"ok: {checked.name}, {counts}")
    echo_table([tuple(part.values()) for part in (*components, *stages)], indent="  ")


def _describe(part: ComponentSpec | StageSpec) -> dict[str, str]:
    registered = part.registered
    return {"name": part.name, "kind": registered.kind, "use": registered.id, "from": registered.provider}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def fill(pipeline: PipelineFile, set_: SetOption = None, no_local_plugins: NoLocalPlugins = False) -> None:
    """Print a pipeline with every default written out.

    Secrets stay references to the environment, and plugin files become absolute paths.
    """
    from trellis.spec import load_pipeline

    filled = load_pipeline(pipeline, overrides=set_ or (), allow_local_plugins=not no_local_plugins)
    warn_of_failures(filled.registry)
    typer.echo(filled.to_yaml(), nl=False)


def schema() -> None:
    """Print the JSON Schema of pipelines, for editors.

    It knows every component that is installed. Make `# yaml-language-server: $schema=FILE` a pipeline's first line.
    """
    from trellis.plugins import registry
    from trellis.spec.schema import pipeline_schema

    warn_of_failures(registry())
    echo_json(pipeline_schema(registry()))


def init(name: Annotated[str, typer.Argument(metavar="NAME", help="The new pipeline's name.")]) -> None:
    """Write NAME.yaml, a small pipeline to start from."""
    from trellis.spec.starter import write_starter

    file = write_starter(name.removesuffix(".yaml"), directory=Path())
    typer.echo(f"wrote {file}: next, `trellis check {file}`, then `trellis run {file}`")
