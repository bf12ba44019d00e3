"""What a plugin hands over: components, their configuration and what they need."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, model_validator

Kind: TypeAlias = Literal[
    "task",
    "policy",
    "reward",
    "optimizer",
    "search",
    "store",
    "embedder",
    "prompt",
    "database",
    "proposer",
    "executor",
    "stage",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


EARLIER_STAGE = "the name of an earlier stage"
EarlierStage: TypeAlias = Annotated[str, EARLIER_STAGE]
"""The type of a stage's config field that names an earlier stage, alone or in a tuple: checked before anything runs."""


class Config(BaseModel):
    """The base of every component's configuration.

    Frozen, strict (a bool is no number, "3" is no int) and closed: a key that is not a field is an error. Sequences are
    `tuple[X, ...]`. A docstring under a field becomes its description. Two field names mean something to the engine:
    `seed: int | None = None` and `device: str | None = None` take the pipeline's own where they are left out.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, values: Any) -> Any:
        """YAML knows lists only, a frozen config holds tuples."""
        return _freeze(values) if isinstance(values, dict) else values

    def extras(self) -> Mapping[str, str | None]:
        """Return the optional modules that these values want, each with the pip extra that brings it, or None.

        Beside `Component.modules`, which are wanted whatever is set. `trellis check` looks for both.
        """
        return {}


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Need:
    """A named collaborator that a component's constructor takes.

    Attributes:
        kind: The kind of component that fits.
        optional: Whether it may be left out; the constructor then gets None (an empty mapping, if `many`).
        many: Whether a list of names is taken; the constructor gets a mapping from name to component.
        capabilities: What the collaborator must offer, e.g. `{"trainable"}`.
        entails: Needs of the same component that must be filled as well, although optional, where the collaborator has a
            capability: e.g. `{"reward": "reward"}`, a search with "reward" entails the need `reward`.
    """

    kind: Kind
    optional: bool = False
    many: bool = False
    capabilities: frozenset[str] = frozenset()
    entails: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Component:
    """One thing a plugin offers, and all that is known of it before it is imported.

    `config` and `factory` are `"module:Class"` where importing the class would cost something, so that listing and
    checking pipelines never imports torch. The factory is called as `factory(config, **collaborators)`.

    Attributes:
        name: Lower-case words joined by hyphens. With the plugin's entry-point name: `plugin/name`.
        summary: One line for `trellis plugins list`.
        config: The component's `Config` subclass, or `"module:Class"`.
        factory: `"module:Class"` of the component itself.
        needs: Collaborators by constructor argument.
        capabilities: What it offers beyond its contract; read by the pipeline check, the runtime and the conformance
            kit alike. The known ones are listed in the contract of its kind.
        extra: The pip extra of its distribution that brings its optional dependencies, e.g. "chroma".
        modules: The optional modules it imports, so that a missing one is found before a run starts.
        capability_extras: The extra and the module that a capability takes, by capability, where the component does without
            them otherwise: looked for where something needs that capability.
    """

    name: str
    summary: str
    config: type[Config] | str
    factory: str
    needs: Mapping[str, Need] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    extra: str | None = None
    modules: tuple[str, ...] = ()
    capability_extras: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def load_config(self) -> type[Config]:
        """Return the configuration class, importing its module if it is given by name."""
        return self.config if isinstance(self.config, type) else cast("type[Config]", load(self.config))

    def load_factory(self) -> Any:
        """Import and return the component's class."""
        return load(self.factory)


def load(path: str) -> Any:
    """Import `"module:attribute"`."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
