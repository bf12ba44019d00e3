"""`${env:NAME}`: values that come from the environment and are never written down again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from trellis.spec.document import NodePath

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Substituted(NamedTuple):
    """Data with the references filled in.

    Attributes:
        data: The data; where a variable is missing, the reference stays.
        secrets: What was filled in, by variable.
        missing: Where a variable is not set, or its name is none.
    """

    data: Any
    secrets: Mapping[str, str]
    missing: tuple[tuple[NodePath, str], ...]


def substitute(data: Any, environment: Mapping[str, str]) -> Substituted:
    """Fill in every reference in every string value; keys stay as they are."""
    secrets: dict[str, str] = {}
    missing: list[tuple[NodePath, str]] = []

    def fill(value: Any, path: NodePath) -> Any:
        if isinstance(value, dict):
            return {key: fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        for variable in _REFERENCE.findall(value):
            if not _VARIABLE.fullmatch(variable):
                missing.append((path, f"'{variable}' is no name of a variable: write ${{env:NAME}}"))
            elif variable not in environment:
                missing.append((path, f"the environment variable {variable} is not set"))
            else:
                secrets[variable] = environment[variable]
        return _REFERENCE.sub(lambda match: secrets.get(match[1], match[0]), value)

    return Substituted(fill(data, ()), secrets, tuple(missing))


def mask(text: str, secrets: Mapping[str, str]) -> str:
    """Write the references again for the values, longest first, so that no part of one is left."""
    for variable, value in sorted(secrets.items(), key=lambda item: -len(item[1])):
        if value:
            text = text.replace(value, f"${{env:{variable}}}")
    return text


def unfill(value: Any, source: Any, secrets: Mapping[str, str]) -> Any:
    """Return `value` as it may be written: references where `source` has them, and no secret anywhere else.

    Args:
        value: A dump of what was made of the filled-in source, perhaps with defaults that the source leaves out.
        source: The data as they were before `substitute`.
        secrets: What `substitute` filled in.
    """
    if isinstance(value, dict):
        known = source if isinstance(source, dict) else {}
        return {key: unfill(item, known.get(key), secrets) for key, item in value.items()}
    if isinstance(value, list):
        known_items = source if isinstance(source, list) else []
        padded = [*known_items, *[None] * (len(value) - len(known_items))]
        return [unfill(item, padded[index], secrets) for index, item in enumerate(value)]
    if isinstance(source, str) and _REFERENCE.search(source):
        return source
    return mask(value, secrets) if isinstance(value, str) else value
