"""What two pipelines differ in, for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ruamel.yaml import YAML


def differences(old: str, new: str, *, most: int = 5) -> list[str]:
    """Return a line for each value that differs between two pipelines written out, the first `most` of them."""
    before, now = (dict(_leaves(YAML(typ="safe", pure=True).load(text), "")) for text in (old, new))
    lines = (
        f"{path}: {before.get(path, 'nothing')} then, {now.get(path, 'nothing')} now"
        for path in {**before, **now}
        if before.get(path) != now.get(path)
    )
    shown = list(islice(lines, most))
    return [*shown, "…"] if next(lines, None) is not None else shown


def only_settings_differ(old: str, new: str) -> bool:
    """Say whether two pipelines written out differ in nothing but what stands under a `with`."""
    before, now = (_without_settings(YAML(typ="safe", pure=True).load(text)) for text in (old, new))
    return bool(before == now)


def _without_settings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_settings(item) for key, item in value.items() if key != "with"}
    return [_without_settings(item) for item in value] if isinstance(value, list) else value


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every value with its path; an item of a list goes by its name where it has one, as a stage has."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{item['name'] if isinstance(item, dict) and 'name' in item else index}")
    else:
        yield path, json.dumps(value, ensure_ascii=False)
