"""`--set components.policy.with.hidden=64`: values given beside the file, which win over it."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trellis.errors import SpecError, SpecProblem, did_you_mean
from trellis.spec.document import Document, NodePath, read_text


def override(document: Document, settings: Sequence[str], *, seed: int | None, device: str | None) -> Document:
    """Return the document with settings put over it, in their order; what cannot be put is one of its problems.

    Args:
        document: The file's.
        settings: `PATH=VALUE` each; a stage is named or numbered, and the value is YAML.
        seed: Wins over everything, if not None.
        device: The same.
    """
    data = copy.deepcopy(document.data)
    if not isinstance(data, dict):
        return document
    overridden: dict[NodePath, str] = {}
    problems: list[SpecProblem] = []
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            path = _address(data, name)
            value = _value(setting, text)
        except _SettingError as error:
            problems.append(SpecProblem(str(error), path=f"--set {name}", choices=error.choices))
            continue
        _put(data, path, value)
        overridden[path] = f"--set {name}"
    for key, given in (("seed", seed), ("device", device)):
        if given is not None:
            data[key] = given
            overridden[(key,)] = f"--{key}"
    return replace(document, data=data, overridden=overridden, problems=(*document.problems, *problems))


class _SettingError(Exception):
    """A setting that cannot be put."""

    def __init__(self, message: str, *, choices: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


def _value(setting: str, text: str) -> Any:
    if "=" not in setting:
        raise _SettingError("write PATH=VALUE, e.g. --set components.policy.with.hidden=64")
    if not text.strip():
        return None
    try:
        document = read_text(text)
    except SpecError as error:
        raise _SettingError(f"the value is {error.problems[0].message}") from None
    if document.problems:
        raise _SettingError(document.problems[0].message)
    return document.data


def _address(data: dict[str, Any], name: str) -> NodePath:
    """Return the path a setting names, with indexes for what lies in lists."""
    parts = re.sub(r"\[(\d+)\]", r".\1", name).split(".")
    if not all(parts):
        raise _SettingError("a part of the path is empty: write it like components.policy.with.hidden")
    path: NodePath = ()
    node: Any = data
    for depth, part in enumerate(parts):
        step: str | int = part
        if path == ("components",) and part not in (node or {}):
            message = f"no component of this pipeline is named '{part}'{did_you_mean(part, node or {})}"
            raise _SettingError(message, choices=tuple(node or {}))
        if isinstance(node, list):
            step = _index(node, part)
        elif node is not None and not isinstance(node, dict):
            raise _SettingError(f"'{'.'.join(parts[:depth])}' holds a value, nothing lies below it")
        path = (*path, step)
        node = (node or {}).get(part) if isinstance(step, str) else node[step]
    return path


def _index(items: list[Any], part: str) -> int:
    """Return where the stage of this name, or with this number, stands."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    known = [name for name in names if isinstance(name, str)]
    if known:
        raise _SettingError(f"no stage is named '{part}'{did_you_mean(part, known)}", choices=known)
    raise _SettingError(f"'{part}' is no index: the list has {len(items)} items, numbered from 0")


def _put(data: dict[str, Any], path: NodePath, value: Any) -> None:
    """Set a value, making the mappings on the way that are not there yet."""
    node: Any = data
    for part in path[:-1]:
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[part]
    node[path[-1]] = value
