"""Finding plugins and taking in what they offer, each one on its own.

pluggy checks the hooks; the loop is ours, since `load_setuptools_entrypoints` stops at the first plugin that raises.
Here a plugin that breaks is taken out and remembered as a `PluginFailure`, and everything else loads.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from trellis.component import KINDS, Component, Config, Kind
from trellis.errors import ContractError, DuplicateComponentError, PluginError, did_you_mean
from trellis.hooks import HOOKS, PROJECT, TrellisSpecs
from trellis.plugins.lookup import Registry
from trellis.plugins.records import Phase, PluginFailure, PluginInfo, RegisteredComponent, Status
from trellis.plugins.settings import disabled_plugins

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PATH = re.compile(r"[^:]+:\w+")


@functools.cache
def registry() -> Registry:
    """Return what the installed plugins offer; they are looked for once a process."""
    return discover()


def build(
    use: str, with_: Mapping[str, object] | None = None, /, *, kind: Kind | None = None, **collaborators: Any
) -> Any:
    """Build a component of an installed plugin: `build("beam", {"width": 4})`.

    Args:
        use: Its id or bare name.
        with_: The values of its config; what is left out takes its default.
        kind: The kind it must be of.
        collaborators: Built components, by the name of the need they fill.

    Raises:
        PluginError: No such component, or its plugin or an optional dependency is missing.
        SpecError: The config is not valid, or the collaborators are not those it needs.
    """
    return registry().find(use, kind).build(with_ or {}, collaborators)


def discover(
    *,
    local_plugins: Sequence[Path] = (),
    disabled: Collection[str] | None = None,
    strict: bool | None = None,
) -> Registry:
    """Import every plugin's module and collect its components.

    Of several distributions with one entry-point name, `trellis` itself goes first, then the others in the order of
    their names, then local files; the first is loaded, the others are failures.

    Args:
        local_plugins: Python files to load as plugins, named by their stems.
        disabled: Installed plugins that are not imported; by default what the user has disabled.
        strict: Whether any failure is fatal; by default whether `TRELLIS_STRICT_PLUGINS=1` is set.

    Raises:
        PluginLoadError: A plugin failed, and `strict`.
    """
    disabled = disabled_plugins() if disabled is None else disabled
    strict = os.environ.get("TRELLIS_STRICT_PLUGINS") == "1" if strict is None else strict
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(TrellisSpecs)
    by_id: dict[str, RegisteredComponent] = {}
    plugins: list[PluginInfo] = []
    failures: list[PluginFailure] = []
    taken: dict[str, _Source] = {}
    for source in [*map(_installed_source, installed_entry_points()), *map(_local_source, local_plugins)]:
        if source.name in disabled and not source.local:
            plugins.append(source.info("disabled"))
            continue
        first = taken.setdefault(source.name, source)
        loaded = _load(manager, source, first=first)
        if isinstance(loaded, PluginFailure):
            if strict:
                raise loaded.error() from loaded.exception
            failures.append(loaded)
            plugins.append(source.info("failed"))
        else:
            by_id |= loaded
            plugins.append(source.info("local" if source.local else "loaded", components=tuple(loaded)))
    return Registry(by_id, tuple(sorted(plugins, key=lambda info: info.name)), tuple(failures))


def installed_entry_points() -> list[importlib.metadata.EntryPoint]:
    """Return the entry points of the group `trellis`, in the order they are loaded; nothing is imported."""
    found = importlib.metadata.entry_points(group=PROJECT)
    return sorted(
        found, key=lambda point: (_distribution(point).name != PROJECT, _distribution(point).name, point.name)
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a plugin's module comes from."""

    name: str
    distribution: str
    version: str
    module: str
    load: Callable[[], object]
    local: bool

    def info(self, status: Status, components: tuple[str, ...] = ()) -> PluginInfo:
        return PluginInfo(self.name, self.distribution, self.version, self.module, status, components)


def _distribution(point: importlib.metadata.EntryPoint) -> importlib.metadata.Distribution:
    assert point.dist is not None, "entry_points() knows where each one stands"
    return point.dist


def _installed_source(point: importlib.metadata.EntryPoint) -> _Source:
    distribution = _distribution(point)
    return _Source(point.name, distribution.name, distribution.version, point.module, point.load, local=False)


def _local_source(file: Path) -> _Source:
    module = f"trellis_local_{file.stem}"
    return _Source(file.stem, str(file), "local", module, functools.partial(_run_file, file, module), local=True)


def _run_file(file: Path, name: str) -> ModuleType:
    """Import a file under a name that no installed module has, so that `f"{__name__}:Class"` can be resolved."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load(
    manager: pluggy.PluginManager, source: _Source, *, first: _Source
) -> dict[str, RegisteredComponent] | PluginFailure:
    """Import, register and collect one plugin; `first` is the one that owns its name."""
    phase: Phase = "register"
    try:
        if source is not first:
            providers = [f"{each.distribution} {each.version}" for each in (first, source)]
            raise DuplicateComponentError(source.name, providers=providers)
        phase = "import"
        plugin = source.load()
        phase = "register"
        _register(manager, plugin, source.name)
        phase = "collect"
        return _collect(manager, plugin, source)
    except (Exception, SystemExit) as error:
        return PluginFailure(source.name, source.distribution, source.version, phase, error)


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """Register a plugin; unlike pluggy's `check_pending`, an unknown hook is the fault of this plugin alone."""
    for hook in HOOKS:
        if (function := getattr(plugin, hook, None)) and not hasattr(function, f"{PROJECT}_impl"):
            raise PluginError(f"'{hook}' is not marked: put @hookimpl (from trellis import hookimpl) above it")
    manager.register(plugin, name=name)
    for caller in manager.get_hookcallers(plugin) or ():
        required = any(impl.plugin is plugin and not impl.optionalhook for impl in caller.get_hookimpls())
        if required and not caller.has_spec():
            raise PluginError(f"there is no hook '{caller.name}'{did_you_mean(caller.name, HOOKS)}")


def _collect(manager: pluggy.PluginManager, plugin: object, source: _Source) -> dict[str, RegisteredComponent]:
    """Call the plugin's hooks one by one, which tells whose components they are."""
    collected: dict[str, RegisteredComponent] = {}
    for hook, kind in HOOKS.items():
        for impl in getattr(manager.hook, hook).get_hookimpls():
            if impl.plugin is not plugin:
                continue
            for record in _records(hook, impl.function()):
                component = RegisteredComponent(kind, source.name, record, source.distribution, source.version)
                if other := collected.get(component.id):
                    providers = [f"the {each.kind} ({each.record.summary})" for each in (other, component)]
                    mend = "Rename one: the components of a plugin have different names, whatever their kinds."
                    raise DuplicateComponentError(component.id, providers=providers, mend=mend)
                collected[component.id] = component
    return collected


def _records(hook: str, returned: object) -> Iterator[Component]:
    if not isinstance(returned, Iterable):
        raise ContractError(f"{hook} returned {returned!r}: yield Component records, or return a list of them")
    for record in returned:
        if not isinstance(record, Component):
            raise ContractError(f"{hook} yielded {record!r}, which is not a Component")
        if fault := _fault(record):
            raise ContractError(f"{hook} yielded the component '{record.name}': {fault}")
        yield record


def _fault(record: Component) -> str | None:
    """Return what is wrong with a record that, unseen, would break something far from its plugin."""
    if not _NAME.fullmatch(record.name):
        return "a name is lower-case words and digits joined by hyphens, like 'best-of-n'"
    for path in (record.factory, record.config):
        if isinstance(path, str) and not _PATH.fullmatch(path):
            return f"'{path}' should read 'module:Class'"
    if not isinstance(record.config, str) and not (
        isinstance(record.config, type) and issubclass(record.config, Config)
    ):
        return f"its config {record.config!r} is no subclass of trellis.Config"
    for name, need in record.needs.items():
        if need.kind not in KINDS:
            return f"its need '{name}' is of an unknown kind '{need.kind}'{did_you_mean(need.kind, KINDS)}"
    return None
