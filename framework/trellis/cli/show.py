"""`trellis plugins show`: everything a component's record says, and where its code stands."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from trellis.cli.output import JsonFlag, echo_json, echo_table
from trellis.plugins import discover


def show(
    component: Annotated[str, typer.Argument(metavar="ID", help="The component's id or name.")], json: JsonFlag = False
) -> None:
    """Describe a component.

    Its config, what it needs and offers, and where its code stands.
    """
    found = discover(strict=False).find(component)
    record = found.record
    config = record.load_config()
    fields = [_field(name, field) for name, field in config.model_fields.items()]
    source = locate(record.factory)
    if json:
        echo_json(
            {
                "id": found.id,
                "kind": found.kind,
                "summary": record.summary,
                "distribution": found.distribution,
                "version": found.version,
                "config": {"class": f"{config.__module__}:{config.__qualname__}", "fields": fields},
                "needs": {
                    name: {
                        "kind": need.kind,
                        "optional": need.optional,
                        "many": need.many,
                        "capabilities": sorted(need.capabilities),
                    }
                    for name, need in record.needs.items()
                },
                "capabilities": sorted(record.capabilities),
                "extra": record.extra,
                "modules": list(record.modules),
                "factory": record.factory,
                "source": source,
            }
        )
        return
    typer.echo(f"{found.id}: {record.summary}\n")
    facts = [
        ("kind", found.kind),
        ("from", found.provider),
        ("capabilities", ", ".join(sorted(record.capabilities))),
        ("extra", record.extra or ""),
        ("factory", record.factory),
        ("source", source or ""),
    ]
    echo_table([fact for fact in facts if fact[1]])
    if record.needs:
        typer.echo("\nneeds")
        echo_table(
            [
                (
                    name,
                    f"{need.kind}{', any number' if need.many else ''}{', optional' if need.optional else ''}",
                    f"with {', '.join(sorted(need.capabilities))}" if need.capabilities else "",
                )
                for name, need in record.needs.items()
            ],
            indent="  ",
        )
    if fields:
        typer.echo("\nconfig")
        echo_table(
            [
                (
                    field["name"],
                    field["type"],
                    "required" if field["required"] else f"= {field['default']!r}",
                    field["description"],
                )
                for field in fields
            ],
            indent="  ",
        )


def locate(path: str) -> str | None:
    """Return `file:line` of `"module:Class"` without importing it; only the file where the class is imported from."""
    module, _, name = path.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return f"{spec.origin}:{node.lineno}"
    return spec.origin


def _field(name: str, field: FieldInfo) -> dict[str, Any]:
    annotation, default = field.annotation, field.get_default(call_default_factory=True)
    return {
        "name": name,
        "type": annotation.__name__ if type(annotation) is type else str(annotation).replace("typing.", ""),
        "required": field.is_required(),
        "default": None if field.is_required() else to_jsonable_python(default, fallback=repr),
        "description": field.description or "",
    }
