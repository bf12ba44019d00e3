"""From a checked pipeline to living components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from trellis.contracts import Stage
from trellis.spec import ComponentSpec, Pipeline, StageSpec


def build_components(pipeline: Pipeline, *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Construct every component, collaborators first; or those of some names, and what they need."""
    built: dict[str, Any] = {}
    for name in pipeline.build_order(names):
        built[name] = _construct(pipeline, pipeline.components[name], built, f"components.{name}")
    return built


def build_stages(pipeline: Pipeline, components: Mapping[str, Any]) -> dict[str, Stage]:
    """Construct every stage, in the order in which they run."""
    return {
        stage.name: cast(Stage, _construct(pipeline, stage, components, f"stages.{stage.name}"))
        for stage in pipeline.stages
    }


def _construct(pipeline: Pipeline, spec: ComponentSpec | StageSpec, built: Mapping[str, Any], path: str) -> Any:
    collaborators: dict[str, Any] = {}
    for argument, need in spec.registered.record.needs.items():
        given = spec.needs.get(argument)
        if need.many:
            names = (given,) if isinstance(given, str) else given or ()
            collaborators[argument] = {name: built[name] for name in names}
        elif isinstance(given, str):
            collaborators[argument] = built[given]
        elif need.optional:
            collaborators[argument] = None
    factory = spec.registered.record.load_factory()
    try:
        return factory(spec.config, **collaborators)
    except Exception as error:
        error.add_note(f"while building {path} ({spec.registered.id}) of {pipeline.file or 'the pipeline'}")
        raise
