"""A pipeline whose every name is resolved and every value valid: what a run is made from."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from trellis.component import Config
from trellis.plugins import RegisteredComponent, Registry

Needs = Mapping[str, str | tuple[str, ...]]
"""Names of components by need; a tuple where the need takes many."""


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component of a pipeline.

    Attributes:
        name: Its name in the pipeline.
        registered: What it is.
        config: Its configuration, with the pipeline's seed and device where it left its own out.
        needs: Which components fill its needs; optional ones that were left out are not there.
    """

    name: str
    registered: RegisteredComponent
    config: Config = field(repr=False)  # it may hold a secret
    needs: Needs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage of a pipeline; its attributes are those of `ComponentSpec`."""

    name: str
    registered: RegisteredComponent
    config: Config = field(repr=False)  # it may hold a secret
    needs: Needs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A checked pipeline. Two are equal if they do the same, wherever they were read from.

    Attributes:
        name: Its name.
        seed: All randomness derives from it.
        device: Where models live; "auto" for the best there is.
        plugins: Local plugin files, absolute.
        components: By name, in the order of the file.
        stages: In the order they run.
        registry: Where the components come from.
        file: The file it was read from, or None.
        secrets: Values that came from the environment; no log may hold one.
    """

    name: str
    seed: int
    device: str
    plugins: tuple[Path, ...]
    components: Mapping[str, ComponentSpec]
    stages: tuple[StageSpec, ...]
    registry: Registry = field(compare=False, repr=False)
    file: Path | None = field(default=None, compare=False)
    secrets: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    _filled: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The document with every default in it and no secret."""

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        overrides: Sequence[str] = (),
        seed: int | None = None,
        device: str | None = None,
        directory: Path | None = None,
        allow_local_plugins: bool = True,
        registry: Registry | None = None,
    ) -> Pipeline:
        """Make a pipeline in Python: the mapping holds what a file would.

        Args:
            data: The document.
            overrides: As `--set`: `PATH=VALUE` each.
            seed: Wins over the document's.
            device: The same.
            directory: What the paths under `plugins` are relative to; by default the working directory.
            allow_local_plugins: Whether `plugins` may name any.
            registry: Where components come from, the document's own plugins included; by default what is installed,
                and those plugins.

        Raises:
            SpecError: It is not valid; holds every problem.
        """
        from trellis.spec.document import from_data
        from trellis.spec.resolve import resolve

        return resolve(
            from_data(data),
            overrides=overrides,
            seed=seed,
            device=device,
            directory=directory or Path(),
            allow_local_plugins=allow_local_plugins,
            registry=registry,
        )

    def build_order(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the components' names, each after those it needs, otherwise in the order of the file.

        Args:
            names: Those that are wanted, with whatever they need; all by default.
        """
        ordered: dict[str, None] = {}

        def visit(name: str) -> None:
            if name in ordered:
                return
            for need in self.components[name].needs.values():
                for target in (need,) if isinstance(need, str) else need:
                    visit(target)
            ordered[name] = None

        for name in self.components if names is None else names:
            visit(name)
        return tuple(ordered)

    def to_yaml(self) -> str:
        """Return the pipeline as a file with every default written out and every secret as `${env:NAME}` again.

        A `seed` or `device` that a component takes from the pipeline is left to it, so that `--seed` still holds.
        """
        out = io.StringIO()
        writer = YAML(typ="safe", pure=True)
        writer.Representer = _Representer
        writer.default_flow_style = False
        writer.allow_unicode = True
        writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        writer.width = 1 << 30
        writer.dump(dict(self._filled), out)
        return out.getvalue()


class _Representer(SafeRepresenter):
    """Quotes what could not be read back otherwise: a plain NEL would end the line."""

    def represent_str(self, data: str) -> ScalarNode:
        style = '"' if "\x85" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)
