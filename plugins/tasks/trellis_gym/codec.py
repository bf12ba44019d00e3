"""Entries of reasoning-gym as JSON and back, with nothing lost.

A scorer may compare tuples or look up integers, which JSON turns into lists and strings: so those are written with a
mark. An entry need not be drawn again to be scored, and a recorded rollout can be judged years later.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trellis.types import JSON

_TUPLE, _PAIRS = "$tuple", "$pairs"


def encode(value: Any) -> JSON:
    """Return a value as JSON.

    Numpy's scalars become Python's. A dictionary with keys that are no strings is written as pairs.

    Raises:
        TypeError: It holds something else than numbers, strings, lists, tuples and dictionaries.
    """
    match value:
        case None | bool() | str():
            return value if value is None or isinstance(value, bool) else str(value)
        case np.generic():
            return encode(value.item())
        case int() | float():
            return value
        case list():
            return [encode(item) for item in value]
        case tuple():
            return {_TUPLE: [encode(item) for item in value]}
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {str(key): encode(item) for key, item in value.items()}
        case dict():
            return {_PAIRS: [[encode(key), encode(item)] for key, item in value.items()]}
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def decode(value: Any) -> Any:
    """Return what `encode` was given; lists that have become tuples, as in a frozen config, are lists again."""
    if isinstance(value, list | tuple):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {_TUPLE}:
            return tuple(decode(item) for item in value[_TUPLE])
        if value.keys() == {_PAIRS}:
            return {decode(key): decode(item) for key, item in value[_PAIRS]}
        return {key: decode(item) for key, item in value.items()}
    return value
