"""A check: a plain function over a component under check, the *subject*."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trellis.component import Config, Kind
from trellis.testing.material import material
from trellis.types import JSON

if TYPE_CHECKING:
    from trellis.plugins import RegisteredComponent


class CheckFailed(AssertionError):  # noqa: N818 - it reports on a plugin, nothing went wrong in the kit
    """The subject breaks the rule a check is about."""


class CheckSkipped(Exception):  # noqa: N818 - a check that does not apply is no error
    """The check has nothing to look at in this subject; the message says why."""


def expect(condition: object, message: str) -> None:
    """Fail the running check with `message` unless `condition` holds."""
    if not condition:
        raise CheckFailed(message)


@dataclass(frozen=True, slots=True)
class Subject:
    """A component under check.

    Attributes:
        component: What the registry knows of it.
        config: The values of its configuration that differ from the defaults.
        needs: What makes a collaborator anew, by the name of the need; the kit's material where a need is not in it.
    """

    component: RegisteredComponent
    config: Mapping[str, JSON] = field(default_factory=dict)
    needs: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    def offers(self, capability: str) -> bool:
        """Say whether the component declares a capability."""
        return capability in self.component.record.capabilities

    def make_config(self) -> Config:
        """Return the configuration, with `seed` and `device` filled as the engine would."""
        config = self.component.record.load_config()
        engine = {"seed": 0, "device": "cpu"}
        ours = {name: value for name, value in engine.items() if name in config.model_fields}
        try:
            return config.model_validate({**ours, **self.config})
        except ValidationError as error:
            missing = [str(fault["loc"][0]) for fault in error.errors() if fault["type"] == "missing"]
            if len(missing) == error.error_count():
                raise CheckSkipped(f"it cannot be made from its defaults: give a config with {missing}") from None
            raise

    def make_needs(self) -> dict[str, Any]:
        """Return fresh collaborators, given ones or from the kit's material, equal each time."""
        needs: dict[str, Any] = {}
        for name, need in self.component.record.needs.items():
            found = self.needs[name]() if name in self.needs else material(need.kind, need.capabilities)
            if found is None and not need.optional:
                raise CheckSkipped(f"the kit has no {need.kind} to offer for its need '{name}'")
            needs[name] = ({} if found is None else {need.kind: found}) if need.many else found
        return needs

    def make(self, needs: Mapping[str, Any] | None = None) -> Any:
        """Return a fresh component, on fresh collaborators unless some are given."""
        return self.component.record.load_factory()(
            self.make_config(), **(self.make_needs() if needs is None else needs)
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of a contract.

    Attributes:
        id: Lower-case words joined by hyphens; unique in the kit.
        kind: The kind of component it applies to; None is every kind.
        why: What goes wrong where the rule is broken, in one sentence.
        requires: The capabilities a component must declare for the check to apply.
        function: Raises `CheckFailed`, or whatever the subject raises, where the rule is broken.
        hint: Where to look when it fails.
    """

    id: str
    kind: Kind | None
    why: str
    requires: frozenset[str]
    function: Callable[[Subject], None]
    hint: str = ""

    @classmethod
    def of(cls, kind: Kind | None, function: Callable[[Subject], None], requires: Iterable[str] = ()) -> Check:
        """Make a check of a function: its name is the id, its docstring's first line the why, the rest the hint."""
        why, _, hint = (inspect.getdoc(function) or "").partition("\n")
        name = function.__name__.replace("_", "-")
        return cls(name, kind, why, frozenset(requires), function, " ".join(hint.split()))


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check ended.

    Attributes:
        id: The check's id.
        passed: None if it was skipped, or failed as expected.
        message: What is wrong and where to look, or why it was skipped; empty when it passed.
        why: The check's reason to be.
    """

    id: str
    passed: bool | None
    message: str
    why: str
