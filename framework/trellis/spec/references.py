"""Stages that a stage's config names: they must run before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from trellis.component import EARLIER_STAGE, Config
from trellis.errors import did_you_mean
from trellis.spec.document import NodePath
from trellis.spec.models import Part
from trellis.spec.problems import Problems


def check_references(stages: Sequence[Part], configs: Mapping[NodePath, Config], problems: Problems) -> None:
    """Add each `EarlierStage` that is not the name of a stage before the one whose config names it.

    Args:
        stages: In the order they run.
        configs: The valid configs, by the path of their part.
        problems: Collects.
    """
    earlier: list[str] = []
    for stage in stages:
        if config := configs.get(stage.path):
            for path, name in _references(config):
                if name not in earlier:
                    listed = did_you_mean(name, earlier) or ": there is none"
                    message = f"no stage before '{stage.name}' is named '{name}'{listed}"
                    problems.add((*stage.path, "with", *path), message, choices=earlier)
        earlier.append(stage.name)


def _references(config: Config) -> Iterator[tuple[NodePath, str]]:
    for field, info in type(config).model_fields.items():
        value: Any = getattr(config, field)
        if EARLIER_STAGE in info.metadata and isinstance(value, str):
            yield (field,), value
        elif isinstance(value, tuple) and any(EARLIER_STAGE in get_args(item) for item in get_args(info.annotation)):
            yield from (((field, index), name) for index, name in enumerate(value))
