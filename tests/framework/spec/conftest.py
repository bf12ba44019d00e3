"""A registry of the tests' own, so that no fixture changes when an in-tree plugin does."""

from dataclasses import replace
from pathlib import Path

import pytest

from trellis.plugins import Registry, discover, installed_entry_points

DATA = Path(__file__).parent / "data"
PLUGINS = {"spec_plugin": "kit", "twin_plugin": "twin", "broken_plugin": "broken"}


def _registry() -> Registry:
    """Load the plugins of `data` as if they had been installed as the distributions kit, twin and broken."""
    found = discover(
        local_plugins=[DATA / f"{stem}.py" for stem in PLUGINS],
        disabled={point.name for point in installed_entry_points()},
        strict=False,
    )

    def installed(record):
        name = PLUGINS[record.plugin]
        return replace(record, plugin=name, distribution=name, version="1.0")

    components = map(installed, found.by_id.values())
    return Registry(
        by_id={component.id: component for component in components},
        plugins=tuple(
            replace(info, name=PLUGINS[info.name], distribution=PLUGINS[info.name], version="1.0")
            for info in found.plugins
            if info.name in PLUGINS
        ),
        failures=tuple(map(installed, found.failures)),
    )


@pytest.fixture(scope="session")
def registry() -> Registry:
    return _registry()


@pytest.fixture(scope="session")
def data_directory() -> Path:
    return DATA
