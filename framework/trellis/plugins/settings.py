"""Which plugins the user has disabled: a small file in the user's config directory, and a variable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from trellis.errors import PluginError


def settings_file() -> Path:
    """Return `plugins.json` in `$TRELLIS_CONFIG_DIR`, by default `$XDG_CONFIG_HOME/trellis`, `~/.config/trellis`."""
    if directory := os.environ.get("TRELLIS_CONFIG_DIR"):
        return Path(directory) / "plugins.json"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "trellis" / "plugins.json"


def disabled_plugins() -> frozenset[str]:
    """Return the plugins that are disabled, in the file or by `TRELLIS_DISABLE_PLUGINS=a,b`."""
    return disabled_in_file() | disabled_by_variable()


def disabled_by_variable() -> frozenset[str]:
    """Return the plugins in `TRELLIS_DISABLE_PLUGINS`."""
    names = os.environ.get("TRELLIS_DISABLE_PLUGINS", "").split(",")
    return frozenset(name.strip() for name in names if name.strip())


def disabled_in_file() -> frozenset[str]:
    """Return the plugins disabled in the settings file.

    Raises:
        PluginError: The file is not what `write_disabled` writes.
    """
    path = settings_file()
    if not path.exists():
        return frozenset()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(str(name) for name in settings["disabled"])
    except (ValueError, KeyError, TypeError) as error:
        example = '{"disabled": ["some-plugin"]}'
        raise PluginError(f"{path} cannot be read ({error!r}). Delete it, or make it like {example}") from error


def write_disabled(names: Iterable[str]) -> None:
    """Replace the settings file."""
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(f".{os.getpid()}.tmp")
    written.write_text(json.dumps({"disabled": sorted(names)}, indent=2) + "\n", encoding="utf-8")
    written.replace(path)
