"""Programs on lists of whole numbers, written from examples.

    3 1 4 2 -> 4 8; 6 5 0 -> 0 12; 3 lines
    sort | 1 2 3 4
    keep even | 2 4
    double | 4 8

    sort                the smallest first          keep even    the even numbers alone
    reverse             the last first              keep odd     the odd numbers alone
    unique              the first of equal numbers  add 1        one more than each number
    drop first          all but the first           double       twice each number
    drop last           all but the last

A list holds 1 to 8 numbers from 0 to 99; an instruction that would leave none, or a larger one, cannot be applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import Random
from typing import TypeAlias

from trellis_code.config import ListInstruction, ListProgramConfig
from trellis_code.language import Language
from trellis_code.program import ProgramTask

Numbers: TypeAlias = tuple[int, ...]

MAX_LENGTH = 8
MAX_NUMBER = 99

INSTRUCTIONS: dict[ListInstruction, Callable[[Numbers], Numbers]] = {
    "sort": lambda numbers: tuple(sorted(numbers)),
    "reverse": lambda numbers: numbers[::-1],
    "unique": lambda numbers: tuple(dict.fromkeys(numbers)),
    "drop first": lambda numbers: numbers[1:],
    "drop last": lambda numbers: numbers[:-1],
    "keep even": lambda numbers: tuple(number for number in numbers if number % 2 == 0),
    "keep odd": lambda numbers: tuple(number for number in numbers if number % 2),
    "add 1": lambda numbers: tuple(number + 1 for number in numbers),
    "double": lambda numbers: tuple(2 * number for number in numbers),
}


class ListLanguage(Language[Numbers]):
    """Instructions on lists of 1 to 8 numbers from 0 to 99, written `3 1 2`."""

    def __init__(self, names: Iterable[ListInstruction]) -> None:
        super().__init__({name: INSTRUCTIONS[name] for name in names})

    def fits(self, value: Numbers) -> bool:
        """Say whether there are 1 to 8 numbers, none above 99."""
        return 0 < len(value) <= MAX_LENGTH and max(value) <= MAX_NUMBER

    def write(self, value: Numbers) -> str:
        """Return the numbers with one space between them."""
        return " ".join(map(str, value))

    def read(self, text: str) -> Numbers | None:
        """Read numbers with spaces or commas between them."""
        words = [word for word in re.split(r"[\s,]+", text) if word]
        if not all(re.fullmatch("[0-9]{1,2}", word) for word in words):
            return None
        numbers = tuple(map(int, words))
        return numbers if self.fits(numbers) else None


class ListProgram(ProgramTask[Numbers]):
    """Problems of list programs, with all their solutions as traces, an exact verifier and an exact step oracle."""

    Config = ListProgramConfig
    example = "3 1 4 2 -> 4 8; 6 5 0 -> 0 12; 3 lines"
    value_form = f"1 to {MAX_LENGTH} whole numbers from 0 to {MAX_NUMBER}"

    def __init__(self, config: ListProgramConfig) -> None:
        super().__init__(config, ListLanguage(config.instructions))
        self.config = config

    def draw_input(self, random: Random) -> Numbers:
        """Draw a list."""
        length = random.randint(self.config.min_length, self.config.max_length)
        return tuple(random.randint(0, self.config.max_number) for _ in range(length))
