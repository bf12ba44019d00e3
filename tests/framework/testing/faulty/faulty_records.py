"""Faults of the record, the configuration and the constructor."""

from pathlib import Path

from faults import TRACES, breaks, register
from pydantic import ConfigDict

from trellis.testing.material import Successor, SuccessorConfig


@breaks("name-is-well-formed", "task", name="Not_A_Name", capabilities=TRACES)
class BadName(Successor):
    pass


@breaks("capabilities-are-known", "task", capabilities=TRACES | {"step_oracle"})
class MisspeltCapability(Successor):
    pass


class _Duck:
    Config = SuccessorConfig

    def __init__(self, config):
        self._task = Successor(config)

    def __getattr__(self, name):
        return getattr(self._task, name)


@breaks("class-implements-the-contract", "task", capabilities=TRACES)
class OnlyADuck(_Duck):
    pass


class OtherConfig(SuccessorConfig):
    pass


@breaks("class-names-its-config", "task", capabilities=TRACES, config=SuccessorConfig)
class ForeignConfig(Successor):
    Config = OtherConfig


@breaks("constructor-takes-config-and-needs", "task", capabilities=TRACES)
class HiddenArgument(Successor):
    def __init__(self, config, verbose=False):
        super().__init__(config)


class OpenConfig(SuccessorConfig):
    model_config = ConfigDict(extra="ignore")


@breaks("config-is-closed-and-frozen", "task", capabilities=TRACES)
class TakesAnyKey(Successor):
    Config = OpenConfig


class ThawedConfig(SuccessorConfig):
    model_config = ConfigDict(frozen=False)


@breaks("config-is-closed-and-frozen", "task", capabilities=TRACES)
class NotFrozen(Successor):
    Config = ThawedConfig


class SilentConfig(SuccessorConfig):
    speed: int = 1


@breaks("config-fields-are-described", "task", capabilities=TRACES)
class SilentField(Successor):
    Config = SilentConfig


class BareConfig(SuccessorConfig):
    path: str
    """Where the problems are."""


@breaks("config-fields-have-defaults", "task", capabilities=TRACES, given={"path": "x"})
class BareField(Successor):
    Config = BareConfig


class NaNConfig(SuccessorConfig):
    scale: float = float("nan")
    """A default that no schema can hold."""


@breaks("config-has-a-json-schema", "task", capabilities=TRACES, given={"scale": 1.0})
class NoSchema(Successor):
    Config = NaNConfig


class PathConfig(SuccessorConfig):
    path: Path = Path("problems")
    """In a strict config a string from YAML is no path."""


@breaks("config-survives-json", "task", capabilities=TRACES)
class OneWayConfig(Successor):
    Config = PathConfig


def heavy():
    """The light task of a plugin whose entry point imports torch."""
    component = register(Successor, "task", capabilities=TRACES)
    return type(component)(component.kind, "heavy", component.record, "heavy-plugin", "1.0")
