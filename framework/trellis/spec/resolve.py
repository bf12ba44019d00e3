"""From a document to a pipeline: form → registry → each part's config → edges, collecting every problem."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trellis.component import Config
from trellis.errors import MissingExtraError, PluginError, UnknownComponentError
from trellis.plugins import RegisteredComponent, Registry, discover
from trellis.plugins import registry as installed
from trellis.spec.document import Document, NodePath, read_file
from trellis.spec.edges import check_edges
from trellis.spec.models import VERSION, Part, check_form, check_version, read_parts
from trellis.spec.overrides import override
from trellis.spec.pipeline import ComponentSpec, Pipeline, StageSpec
from trellis.spec.problems import Problems
from trellis.spec.references import check_references
from trellis.spec.secrets import substitute, unfill
from trellis.spec.sentences import faults, show


def load_pipeline(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    device: str | None = None,
    allow_local_plugins: bool = True,
    registry: Registry | None = None,
) -> Pipeline:
    """Read and check a pipeline file. Nothing heavy is imported and nothing is built.

    Args:
        path: The YAML file.
        overrides: As `--set`: `PATH=VALUE` each, e.g. `components.policy.with.hidden=64`.
        seed: Wins over the file's.
        device: The same.
        allow_local_plugins: Whether the file may name Python files under `plugins`, which are run.
        registry: Where components come from, the file's own plugins included; by default what is installed, and those
            plugins.

    Raises:
        SpecError: It is not valid; holds every problem.
    """
    file = Path(path)
    return resolve(
        read_file(file),
        overrides=overrides,
        seed=seed,
        device=device,
        directory=file.parent,
        allow_local_plugins=allow_local_plugins,
        registry=registry,
    )


def resolve(
    document: Document,
    *,
    overrides: Sequence[str],
    seed: int | None,
    device: str | None,
    directory: Path,
    allow_local_plugins: bool,
    registry: Registry | None,
) -> Pipeline:
    """Check a document and return its pipeline; the arguments are those of `load_pipeline`."""
    document = override(document, overrides, seed=seed, device=device)
    data, secrets, missing = substitute(document.data, os.environ)
    problems = Problems(document, secrets=secrets)
    for path, message in missing:
        problems.add(path, message)
        problems.mute(path)
    if not isinstance(data, dict):
        problems.add((), f"a pipeline is a mapping with 'version', 'name', 'components' and 'stages', not {show(data)}")
        raise problems.error()
    check_version(data, problems)
    check_form(data, problems)
    components, stages = read_parts(data)
    _check_stage_names(stages, document, problems)

    plugins = _local_plugins(data.get("plugins"), directory, allow_local_plugins, problems)
    if registry is None:
        registry = _discover(plugins, problems)
    found = {
        part.path: registered
        for part in (*components, *stages)
        if (registered := _find(part, registry, problems)) is not None
    }
    configs = {
        part.path: config
        for part in (*components, *stages)
        if part.path in found and (config := _config(part, found[part.path], problems)) is not None
    }
    if isinstance(data.get("components", {}), dict):
        check_edges(components, stages, found, problems)
    check_references(stages, configs, problems)
    if problems:
        raise problems.error()

    return _pipeline(
        components,
        stages,
        found,
        configs,
        head={"name": data["name"], "seed": data.get("seed", 0), "device": data.get("device", "auto")},
        plugins=tuple(plugins.values()),
        registry=registry,
        document=document,
        secrets=secrets,
    )


def _pipeline(
    components: Sequence[Part],
    stages: Sequence[Part],
    found: Mapping[NodePath, RegisteredComponent],
    configs: Mapping[NodePath, Config],
    *,
    head: dict[str, Any],
    plugins: tuple[Path, ...],
    registry: Registry,
    document: Document,
    secrets: Mapping[str, str],
) -> Pipeline:
    """Put together what was found, now that nothing is wrong with it."""

    def config(part: Part) -> Config:
        return _with_run_values(configs[part.path], seed=head["seed"], device=head["device"])

    def needs(part: Part) -> dict[str, str | tuple[str, ...]]:
        return _needs(part, found[part.path])

    def filled(part: Part, key: str) -> dict[str, Any]:
        lists = {name: value if isinstance(value, str) else list(value) for name, value in needs(part).items()}
        values = configs[part.path].model_dump(mode="json", by_alias=True, round_trip=True)
        body = {key: found[part.path].id, "with": values, "needs": lists}
        return {name: value for name, value in body.items() if value}

    document_filled = {
        "version": VERSION,
        **head,
        "plugins": [str(plugin) for plugin in plugins],
        "components": {part.name: filled(part, "use") for part in components},
        "stages": [{"name": part.name, **filled(part, "run")} for part in stages],
    }
    return Pipeline(
        **head,
        plugins=plugins,
        components={
            part.name: ComponentSpec(part.name, found[part.path], config(part), needs(part)) for part in components
        },
        stages=tuple(StageSpec(part.name, found[part.path], config(part), needs(part)) for part in stages),
        registry=registry,
        file=document.file,
        secrets=frozenset(value for value in secrets.values() if value),
        _filled=unfill(document_filled, document.data, secrets),
    )


def _check_stage_names(stages: Sequence[Part], document: Document, problems: Problems) -> None:
    first: dict[str, NodePath] = {}
    for stage in stages:
        path = (*stage.path, "name")
        if stage.name and first.setdefault(stage.name, path) != path:
            line = f", line {document.position(first[stage.name]).line}" if document.file else ""
            where = f"stages[{first[stage.name][1]}]{line}"
            problems.add(path, f"a stage named '{stage.name}' is there already ({where}): give this one another name")


def _local_plugins(raw: Any, directory: Path, allowed: bool, problems: Problems) -> dict[NodePath, Path]:
    """Return the plugin files a document names, where it names them; those that cannot be loaded are problems."""
    plugins: dict[NodePath, Path] = {}
    for index, name in enumerate(raw if isinstance(raw, list) else []):
        path: NodePath = ("plugins", index)
        if not isinstance(name, str):
            continue
        file = (directory / name).resolve()
        if not allowed:
            problems.add(path, f"local plugins are turned off, so '{name}' is not loaded (--no-local-plugins)")
        elif not file.is_file():
            problems.add(path, f"there is no file '{name}': paths are relative to the pipeline's file")
        else:
            plugins[path] = file
    return plugins


def _discover(plugins: Mapping[NodePath, Path], problems: Problems) -> Registry:
    if not plugins:
        return installed()
    registry = discover(local_plugins=list(plugins.values()))
    failures = {failure.distribution: failure for failure in registry.failures}
    for path, file in plugins.items():
        if failure := failures.get(str(file)):
            problems.add(path, str(failure))
    return registry


def _find(part: Part, registry: Registry, problems: Problems) -> RegisteredComponent | None:
    """Look up what a part is, with the modules it wants."""
    if part.use is None:
        return None
    is_stage = part.path[0] == "stages"
    offered = {each.id: each for each in registry.by_id.values() if (each.kind == "stage") == is_stage}
    try:
        registered = replace(registry, by_id=offered).find(part.use)
    except UnknownComponentError as error:
        elsewhere = _elsewhere(part.use, registry)
        problems.add(part.use_path, elsewhere or str(error), choices=error.choices)
        return None
    except PluginError as error:
        problems.add(part.use_path, str(error))
        return None
    try:
        registered.check_extra()
    except MissingExtraError as error:
        problems.add(part.use_path, str(error))
    return registered


def _elsewhere(name: str, registry: Registry) -> str | None:
    """Return where a name belongs that is a stage among the components or a component among the stages."""
    try:
        registered = registry.find(name)
    except PluginError:
        return None
    if registered.kind == "stage":
        return f"'{name}' is a stage: write `run: {name}` under stages"
    return f"'{name}' is a {registered.kind}, not a stage: write it under components and name it in a stage's needs"


def _config(part: Part, registered: RegisteredComponent, problems: Problems) -> Config | None:
    if part.settings is None:
        return None
    try:
        model = registered.record.load_config()
    except Exception as error:  # the module is the plugin's own and may raise anything
        reason = f"{type(error).__name__}: {error}"
        problems.add(part.use_path, f"the configuration class of {registered.id} could not be loaded: {reason}")
        return None
    try:
        config = model.model_validate(part.settings)
        registered.check_extra(config)
        return config
    except MissingExtraError as error:
        problems.add((*part.path, "with"), str(error))
        return None
    except ValidationError as error:
        for fault in faults(error, model, part.settings):
            path = (*part.path, "with", *fault.path)
            problems.add(path, fault.message, at_key=fault.at_key, choices=fault.choices)
        return None


def _with_run_values(config: Config, *, seed: int, device: str) -> Config:
    """Fill in the pipeline's seed and device where the config has such a field and left it out."""
    taken = {
        name: value
        for name, value in (("seed", seed), ("device", device))
        if name in type(config).model_fields and getattr(config, name) is None
    }
    return config.model_copy(update=taken)


def _needs(part: Part, registered: RegisteredComponent) -> dict[str, str | tuple[str, ...]]:
    """Return the needs with a tuple wherever many are taken."""
    return {
        name: (value,) if isinstance(value, str) and registered.record.needs[name].many else value
        for name, value in part.needs.items()
    }
