"""What is known of plugins and their components once they have been looked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from trellis.component import Component, Config, Kind
from trellis.errors import MissingExtraError, PluginLoadError, SpecError, SpecProblem, did_you_mean

Phase: TypeAlias = Literal["import", "register", "collect"]
Status: TypeAlias = Literal["loaded", "local", "failed", "disabled"]


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """Why a plugin is not there.

    Attributes:
        plugin: Its entry-point name, or the stem of a local file.
        distribution: The distribution that brings it, or the path of a local file.
        version: The distribution's version, or "local".
        phase: "import": its module raised; "register": it does not fit the hooks, or its name is taken; "collect": a
            hook raised or returned something else than components.
        exception: The original exception, with its traceback.
    """

    plugin: str
    distribution: str
    version: str
    phase: Phase
    exception: BaseException

    def __str__(self) -> str:
        return (
            f"plugin '{self.plugin}' ({self.distribution} {self.version}) failed to load, phase {self.phase}: "
            f"{self.reason}"
        )

    @property
    def reason(self) -> str:
        """The exception on one line."""
        return f"{type(self.exception).__name__}: {' '.join(str(self.exception).split())}"

    def error(self) -> PluginLoadError:
        """Return the error for one who needs this plugin; raise it `from self.exception`."""
        return PluginLoadError(f"{self}. TRELLIS_TRACEBACK=1 shows where it happened.", plugin=self.plugin)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin that was found, whether or not it could be loaded.

    Attributes:
        name: Its entry-point name, or the stem of a local file.
        distribution: The distribution that brings it, or the path of a local file.
        version: The distribution's version, or "local".
        module: The module its entry point names.
        status: "loaded", "local" (a local file, loaded), "failed", or "disabled", which is never imported.
        components: The ids of its components.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    components: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegisteredComponent:
    """A component's record, and where it comes from.

    Attributes:
        kind: The kind of the hook that returned it.
        plugin: The entry-point name of its plugin.
        record: What the plugin handed over.
        distribution: The distribution that brings it, or the path of a local file.
        version: The distribution's version, or "local".
    """

    kind: Kind
    plugin: str
    record: Component
    distribution: str
    version: str

    @property
    def id(self) -> str:
        """`plugin/name`."""
        return f"{self.plugin}/{self.record.name}"

    @property
    def provider(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"

    def check_extra(self, config: Config | None = None) -> None:
        """Look for the component's optional modules without importing them.

        Args:
            config: Where given, what its values want is looked for, and not what the component wants in any case.

        Raises:
            MissingExtraError: One is not installed.
        """
        wanted = dict.fromkeys(self.record.modules, self.record.extra) if config is None else config.extras()
        for module, extra in wanted.items():
            if not _installed(module):
                raise MissingExtraError(self.id, extra=extra, module=module, distribution=self.distribution)

    def check_capabilities(self, needed: Set[str]) -> None:
        """Look for the optional modules that capabilities take.

        Raises:
            MissingExtraError: One is not installed.
        """
        for capability, (extra, module) in self.record.capability_extras.items():
            if capability in needed and not _installed(module):
                raise MissingExtraError(self.id, extra=extra, module=module, distribution=self.distribution)

    def config(self, values: Mapping[str, object]) -> Any:
        """Return the component's config.

        Args:
            values: What is left out takes its default.

        Raises:
            SpecError: It is not valid; holds every problem.
        """
        try:
            return self.record.load_config().model_validate(values)
        except ValidationError as error:
            raise SpecError(self._config_problems(error)) from None

    def build(self, config: Mapping[str, object], collaborators: Mapping[str, object]) -> Any:
        """Import the component's class and construct it.

        Args:
            config: The values of its config; what is left out takes its default.
            collaborators: Built components by the name of the need they fill; a mapping of them where it takes many.

        Raises:
            MissingExtraError: An optional dependency is not installed.
            SpecError: The config is not valid, or the collaborators are not those it needs; holds every problem.
        """
        self.check_extra()
        problems = self._collaborator_problems(collaborators)
        try:
            valid = self.config(config)
        except SpecError as error:
            raise SpecError([*error.problems, *problems]) from None
        if problems:
            raise SpecError(problems)
        self.check_extra(valid)
        left_out: dict[str, object] = {
            name: {} if need.many else None for name, need in self.record.needs.items() if need.optional
        }
        try:
            return self.record.load_factory()(valid, **(left_out | dict(collaborators)))
        except Exception as error:
            error.add_note(f"while building '{self.id}' ({self.record.factory}, {self.distribution} {self.version})")
            raise

    def _config_problems(self, error: ValidationError) -> list[SpecProblem]:
        fields = tuple(self.record.load_config().model_fields)
        problems = []
        for fault in error.errors():
            path = ".".join([self.id, "with", *map(str, fault["loc"])])
            if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
                message = f"there is no such field{did_you_mean(str(fault['loc'][0]), fields)}"
                problems.append(SpecProblem(message, path=path, choices=fields))
            else:
                problems.append(SpecProblem(fault["msg"], path=path))
        return problems

    def _collaborator_problems(self, collaborators: Mapping[str, object]) -> list[SpecProblem]:
        needs = self.record.needs
        problems = [
            SpecProblem(f"no {need.kind} is given: pass {name}=…", path=f"{self.id}.needs.{name}")
            for name, need in needs.items()
            if not need.optional and name not in collaborators
        ]
        for name in collaborators:
            if name not in needs:
                message = f"it takes no such collaborator{did_you_mean(name, needs) or '; it takes none'}"
                problems.append(SpecProblem(message, path=f"{self.id}.needs.{name}", choices=tuple(needs)))
        return problems


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False
