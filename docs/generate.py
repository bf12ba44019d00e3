"""Writes the generated parts of docs/: `make docs`. A test holds that they are current.

components.md          every component of this distribution, from its record and config
results.schema.json    the JSON Schema of `results.json`
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic_core import to_jsonable_python

from trellis.component import KINDS
from trellis.plugins import RegisteredComponent, discover
from trellis.run.results import results_schema

HERE = Path(__file__).parent


def documents() -> dict[str, str]:
    """Return the text of every generated file by its name under docs/."""
    return {"components.md": components(), "results.schema.json": json.dumps(results_schema(), indent=2) + "\n"}


def components() -> str:
    """Return the reference of all components as Markdown."""
    found = [c for c in discover(disabled=()).components().values() if c.distribution == "trellis"]
    parts = ["# Components\n\nEvery component that ships. Generated from their records by `make docs`.\n"]
    for kind in KINDS:
        of_kind = sorted((c for c in found if c.kind == kind), key=lambda c: c.id)
        if of_kind:
            parts.append(f"\n## {kind.capitalize()}\n")
            parts += [_component(c) for c in of_kind]
    return "".join(parts)


def _component(component: RegisteredComponent) -> str:
    record = component.record
    lines = [f"\n### `{component.id}`\n\n{record.summary[0].upper()}{record.summary[1:]}.\n"]
    needs = [
        f"`{name}` ({need.kind}{', optional' if need.optional else ''}{', any number' if need.many else ''})"
        for name, need in record.needs.items()
    ]
    if needs:
        lines.append(f"\nNeeds {', '.join(needs)}.\n")
    fields = record.load_config().model_fields
    if fields:
        lines.append("\n| field | default | |\n|---|---|---|\n")
    for name, field in fields.items():
        default = (
            "required"
            if field.is_required()
            else json.dumps(to_jsonable_python(field.get_default(call_default_factory=True)))
        )
        described = " ".join((field.description or "").split()).replace("|", "\\|")
        lines.append(f"| `{name}` | `{default}` | {described} |\n")
    return "".join(lines)


if __name__ == "__main__":
    for name, text in documents().items():
        (HERE / name).write_text(text, encoding="utf-8")
