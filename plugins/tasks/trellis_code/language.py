"""A language of straight-line programs: one instruction after the other, each of one value.

Its interpreter is a sandbox by construction. An instruction is a name that is looked up in a table; no text of a model
is ever evaluated, executed or read as anything but such a name. Each entry of the table is a pure function, every value
is bounded (`fits`), and a value out of bounds is no value: so `apply` is total, and a program takes time proportional to
its number of lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
"""What programs work on: hashable and immutable."""


class Language(ABC, Generic[Value]):
    """The instructions, the bounds of values, and how a value is written."""

    def __init__(self, instructions: Mapping[str, Callable[[Value], Value]]) -> None:
        self.instructions = instructions

    @abstractmethod
    def fits(self, value: Value) -> bool:
        """Say whether a value is within the bounds of the language."""

    @abstractmethod
    def write(self, value: Value) -> str:
        """Return the text of a value."""

    @abstractmethod
    def read(self, text: str) -> Value | None:
        """Read a value that a person typed; None where the text is no value within the bounds."""

    def apply(self, name: str, value: Value) -> Value | None:
        """Return what an instruction makes of a value; None where that is out of bounds."""
        result = self.instructions[name](value)
        return result if self.fits(result) else None

    def apply_all(self, name: str, values: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """Apply an instruction to each value; what is out of bounds stays there."""
        return tuple(None if value is None else self.apply(name, value) for value in values)

    def reaches(self, values: tuple[Value | None, ...], outputs: tuple[Value, ...], *, lines: int) -> bool:
        """Say whether one program of at most `lines` lines makes of each value the output in its place. Exact."""
        return _reaches(self, values, outputs, lines)


@lru_cache(maxsize=1 << 18)
def _reaches(language: Language[Any], values: tuple[Any, ...], outputs: tuple[Any, ...], lines: int) -> bool:
    if values == outputs:
        return True
    if lines == 0 or None in values:
        return False
    after = set(zip(*(_successors(language, value) for value in values), strict=True))
    return outputs in after or (lines > 1 and any(_reaches(language, state, outputs, lines - 1) for state in after))


@lru_cache(maxsize=1 << 16)
def _successors(language: Language[Any], value: Any) -> tuple[Any, ...]:
    """Return what each instruction makes of a value."""
    return tuple(language.apply(name, value) for name in language.instructions)
