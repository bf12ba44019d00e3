"""The form of a pipeline file, before any of its names is looked up.

The models say what a file may hold; `read_parts` takes from it whatever can be read, so that no fault hides another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trellis.spec.document import NodePath
from trellis.spec.problems import Problems
from trellis.spec.sentences import faults, show

VERSION = 1
NAME_PATTERN = r"^[A-Za-z0-9_-]+$"

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Letters, digits, _ and -."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class ComponentModel(_Model):
    """A component of the pipeline."""

    use: str
    """The registered component, `plugin/name`, or its bare name where only one plugin has it."""
    with_: dict[str, Any] = Field(default={}, alias="with")
    """Its configuration; what is left out takes its default."""
    needs: dict[str, str | list[str]] = {}
    """Which component of this pipeline fills each of its needs: a name, or a list of names where it takes many."""


class StageModel(_Model):
    """A phase of the pipeline; stages run in the order of the file."""

    name: Name
    """Names the stage in results, checkpoints and `--set`."""
    run: str
    """The registered stage, e.g. `train`."""
    with_: dict[str, Any] = Field(default={}, alias="with")
    """Its configuration; what is left out takes its default."""
    needs: dict[str, str | list[str]] = {}
    """Which component of this pipeline fills each of its needs: a name, or a list of names where it takes many."""


class PipelineModel(_Model):
    """A Trellis pipeline."""

    version: Literal[1]
    """The version of this format."""
    name: Name
    """The pipeline's name: letters, digits, _ and -."""
    seed: int = Field(default=0, ge=0)
    """All randomness derives from it."""
    device: str = Field(default="auto", min_length=1)
    """Where models live: `auto`, `cpu`, `cuda`, `cuda:1`, …"""
    plugins: list[str] = []
    """Python files with components of your own, relative to this file."""
    components: dict[Name, ComponentModel] = {}
    """The parts, by the names that `needs` and `--set` use."""
    stages: list[StageModel] = Field(min_length=1)
    """What is done with them, in order."""


@dataclass(frozen=True, slots=True)
class Part:
    """What could be read of a component or a stage.

    Attributes:
        path: Where it stands.
        name: Its name, or "" if it has none.
        use_path: Where it says what it is, under `use` or `run`.
        use: What it is, if that could be read.
        settings: What stands under `with`, if that could be read.
        needs: What stands under `needs`; each value is a name or a tuple of names.
        complete: Whether everything under `needs` could be read.
    """

    path: NodePath
    name: str
    use_path: NodePath
    use: str | None
    settings: dict[str, Any] | None
    needs: Mapping[str, str | tuple[str, ...]]
    complete: bool


def check_version(data: dict[str, Any], problems: Problems) -> None:
    """Refuse a file of another version, whose other lines would mean nothing here.

    Raises:
        SpecError: The version is another.
    """
    version = data.get("version", VERSION)
    if version != VERSION or type(version) is not int:
        problems.add(("version",), f"this Trellis reads `version: {VERSION}`, not {show(version)}")
        raise problems.error()


def check_form(data: dict[str, Any], problems: Problems) -> None:
    """Add everything that is wrong with the form."""
    try:
        PipelineModel.model_validate(data)
    except ValidationError as error:
        for fault in faults(error, PipelineModel, data):
            problems.add(fault.path, fault.message, at_key=fault.at_key, choices=fault.choices)


def read_parts(data: dict[str, Any]) -> tuple[list[Part], list[Part]]:
    """Return the components and the stages, as far as they can be read."""
    components, stages = data.get("components"), data.get("stages")
    if not isinstance(components, dict):
        components = {}
    if not isinstance(stages, list):
        stages = []
    return (
        [_part(("components", name), raw, name=name, key="use") for name, raw in components.items()],
        [_part(("stages", index), raw, name=None, key="run") for index, raw in enumerate(stages)],
    )


def _part(path: NodePath, raw: Any, *, name: str | None, key: str) -> Part:
    known = raw if isinstance(raw, dict) else {}
    name = known.get("name") if name is None else name
    use, settings, needs = known.get(key), known.get("with", {}), known.get("needs", {})
    readable = {
        need: tuple(value) if isinstance(value, list) else value
        for need, value in (needs if isinstance(needs, dict) else {}).items()
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
    }
    return Part(
        path=path,
        name=name if isinstance(name, str) else "",
        use_path=(*path, key),
        use=use if isinstance(use, str) else None,
        settings=settings if isinstance(settings, dict) else None,
        needs=readable,
        complete=isinstance(raw, dict) and isinstance(needs, dict) and len(readable) == len(needs),
    )
