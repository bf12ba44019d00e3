"""The data sets of reasoning-gym: names, parameters, and how one is made. Imports the library."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, cast

from reasoning_gym.factory import DATASETS

from trellis.errors import did_you_mean

UNUSABLE = {
    "composite": "it mixes other data sets, which are objects no file can name; use one task for each of them",
    "game_of_life_halting": "its scorer calls every answer correct that is not empty",
}
"""Data sets that cannot be a task, and why."""

_OURS = {"seed": "set `data_seed`", "size": "set `train_size`, `validation_size` and `test_size`"}


class Dataset(Protocol):
    """What this plugin uses of a data set of the library."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the entry at an index: `question`, `answer`, `metadata`."""
        ...

    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        """Return 1.0 for a correct answer, less for any other."""
        ...


def names() -> list[str]:
    """Return the names of all data sets that can be a task."""
    return sorted(DATASETS.keys() - UNUSABLE.keys())


def make(dataset: str, parameters: Mapping[str, Any], *, seed: int, size: int) -> Dataset:
    """Make a data set; it computes its entries when they are asked for.

    Raises:
        ValueError: There is no such data set or parameter, or a value is refused; the message says how to mend it.
    """
    if dataset in UNUSABLE:
        raise ValueError(f"the data set '{dataset}' cannot be a task: {UNUSABLE[dataset]}")
    if dataset not in DATASETS:
        raise ValueError(f"reasoning-gym has no data set '{dataset}'{did_you_mean(dataset, names())}")
    factory, config_class = DATASETS[dataset]
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.name not in _OURS}
    for name in parameters:
        if name in _OURS:
            raise ValueError(f"parameters: '{name}' is not set here: {_OURS[name]}")
        if name not in fields:
            raise ValueError(f"parameters: '{dataset}' has no field '{name}'{did_you_mean(name, fields)}")
    values = {name: _as_default(value, fields[name]) for name, value in parameters.items()}
    try:
        config = config_class(seed=seed, size=size, **values)
        if hasattr(config, "validate"):
            config.validate()
        return cast("Dataset", factory(config))
    except Exception as error:
        reason = str(error) or type(error).__name__
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ValueError(f"parameters: '{dataset}' refuses {given or 'its own defaults'}: {reason}") from error


def check(dataset: str, parameters: Mapping[str, Any]) -> None:
    """Raise ValueError where `make` would."""
    make(dataset, parameters, seed=0, size=10)


def _as_default(value: Any, field: dataclasses.Field[Any]) -> Any:
    """Return sequences as the library's default has them: files know lists only, and some generators take but one."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return _sequences(value, tuple if isinstance(default, tuple) else list)


def _sequences(value: Any, kind: type[list[Any]] | type[tuple[Any, ...]]) -> Any:
    if isinstance(value, Mapping):
        return {key: _sequences(item, kind) for key, item in value.items()}
    return kind(_sequences(item, kind) for item in value) if isinstance(value, tuple | list) else value
