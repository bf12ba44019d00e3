"""The registry: every component by id, and a look-up that explains itself when a name is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trellis.component import Kind
from trellis.errors import DuplicateComponentError, PluginError, PluginLoadError, UnknownComponentError
from trellis.plugins.records import PluginFailure, PluginInfo, RegisteredComponent


@dataclass(frozen=True, slots=True)
class Registry:
    """What the plugins of this environment offer.

    Attributes:
        by_id: Every component that could be loaded.
        plugins: Every plugin that was found, in the order of their names.
        failures: Those that could not be loaded, and why.
    """

    by_id: Mapping[str, RegisteredComponent]
    plugins: tuple[PluginInfo, ...]
    failures: tuple[PluginFailure, ...]

    def components(self, kind: Kind | None = None) -> Mapping[str, RegisteredComponent]:
        """Return the components of a kind, or all, by id."""
        return {key: found for key, found in self.by_id.items() if kind in (None, found.kind)}

    def find(self, name: str, kind: Kind | None = None) -> RegisteredComponent:
        """Return the component with this name.

        Args:
            name: `plugin/component`, or the component's bare name where one plugin alone offers it.
            kind: The kind it must be of.

        Raises:
            PluginLoadError: The name is of a plugin that failed to load (the cause is chained) or is disabled.
            DuplicateComponentError: Several plugins offer a component of this bare name.
            UnknownComponentError: There is none, or it is of another kind.
        """
        found = _named(name, self.components(kind))
        if len(found) > 1:
            ids = sorted(component.id for component in found)
            mend = f"Write the full id: {' or '.join(ids)}."
            raise DuplicateComponentError(name, providers=[component.provider for component in found], mend=mend)
        if not found:
            raise self._error(name, kind)
        return found[0]

    def _error(self, name: str, kind: Kind | None) -> PluginError:
        """Return why there is no such component."""
        plugin = name.partition("/")[0] if "/" in name else ""
        statuses = {info.status for info in self.plugins if info.name == plugin}
        if statuses == {"failed"}:
            failure = next(failure for failure in self.failures if failure.plugin == plugin)
            error = failure.error()
            error.__cause__ = failure.exception
            return error
        if statuses == {"disabled"}:
            return PluginLoadError(
                f"plugin '{plugin}' is disabled: `trellis plugins enable {plugin}`, or take it out of "
                "TRELLIS_DISABLE_PLUGINS",
                plugin=plugin,
            )
        known = self.components(kind).values()
        choices = sorted({found.id if plugin else found.record.name for found in known})
        return UnknownComponentError(name, kind=kind, choices=choices, hint=self._hint(name))

    def _hint(self, name: str) -> str:
        hint = "".join(f". '{found.id}' is of kind {found.kind}" for found in _named(name, self.by_id))
        if failed := [info.name for info in self.plugins if info.status == "failed"]:
            hint += f". Plugins that failed to load: {', '.join(failed)} (see `trellis plugins doctor`)"
        if disabled := [info.name for info in self.plugins if info.status == "disabled"]:
            hint += f". Disabled plugins: {', '.join(disabled)} (`trellis plugins enable NAME`)"
        return hint


def _named(name: str, components: Mapping[str, RegisteredComponent]) -> list[RegisteredComponent]:
    if "/" in name:
        return [components[name]] if name in components else []
    return [component for component in components.values() if component.record.name == name]
