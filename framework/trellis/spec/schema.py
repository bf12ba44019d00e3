"""JSON Schema (draft 2020-12) of pipeline files, so that an editor completes and checks them while one types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from trellis.component import Component, Config, Need
from trellis.plugins import RegisteredComponent, Registry
from trellis.spec.models import NAME_PATTERN, ComponentModel, PipelineModel, StageModel

_REFERENCE = "#/$defs/{model}"


def pipeline_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of pipelines made from a registry's components.

    What stands under `with` and `needs` depends on what `use` or `run` names. References to other parts of the file
    are beyond JSON Schema: `trellis check` checks those.
    """
    configs = {found.id: config for found in registry.by_id.values() if (config := _config(found)) is not None}
    models: list[type[Any]] = [PipelineModel, ComponentModel, StageModel, *configs.values()]
    by_model, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=_REFERENCE
    )
    schemas = {component: _of_with(config, by_model[config, "validation"]) for component, config in configs.items()}
    defs = definitions["$defs"]
    pipeline = defs.pop("PipelineModel")
    for key, model, stage in (("use", ComponentModel, False), ("run", StageModel, True)):
        names = _names(registry, stage=stage)
        part = defs[model.__name__]
        part["properties"][key]["enum"] = sorted(name for group in names.values() for name in group)
        part["allOf"] = [
            _rule(key, choices, registry.by_id[component].record, schemas.get(component, {}))
            for component, choices in names.items()
        ]
    pipeline["properties"]["components"]["propertyNames"] = {"pattern": NAME_PATTERN}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **pipeline, "$defs": defs}


def _config(found: RegisteredComponent) -> type[Config] | None:
    """Return the config class, or None where its module raises: the other components still have a schema."""
    try:
        return found.record.load_config()
    except Exception:  # the module is the plugin's own and may raise anything
        return None


def _names(registry: Registry, *, stage: bool) -> Mapping[str, list[str]]:
    """Return by id what each component may be called: its id, and its bare name where no other has it."""
    offered = [found for found in registry.by_id.values() if (found.kind == "stage") == stage]
    count = Counter(found.record.name for found in offered)
    return {found.id: [found.id] + [found.record.name] * (count[found.record.name] == 1) for found in offered}


def _of_with(config: type[Config], reference: dict[str, Any]) -> dict[str, Any]:
    """Return what a config demands of the part around it: `with` fits, and is there if a field has no default."""
    required = any(field.is_required() for field in config.model_fields.values())
    return {"properties": {"with": reference}, "required": ["with"] if required else []}


def _of_needs(needs: Mapping[str, Need]) -> dict[str, Any]:
    name = {"type": "string", "pattern": NAME_PATTERN}
    names_or_name = {"anyOf": [name, {"type": "array", "items": name}]}
    required = [key for key, need in needs.items() if not need.optional]
    schema = {
        "properties": {key: names_or_name if need.many else name for key, need in needs.items()},
        "required": required,
        "additionalProperties": False,
    }
    return {"properties": {"needs": schema}, "required": ["needs"] if required else []}


def _rule(key: str, names: Sequence[str], record: Component, of_with: dict[str, Any]) -> dict[str, Any]:
    """Say what must stand beside `use: NAME`."""
    named = {"properties": {key: {"enum": list(names)}}, "required": [key]}
    return {"if": named, "then": {"allOf": [of_with, _of_needs(record.needs)]}}
