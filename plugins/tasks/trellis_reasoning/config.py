"""What can be set of each reasoning task."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trellis.procedural import Positive, ProceduralConfig


class ArithmeticConfig(ProceduralConfig):
    """A chain of operations, worked out from left to right."""

    PRESETS: ClassVar = {
        "easy": {"length": 2, "max_number": 9},
        "medium": {},
        "hard": {"length": 6, "max_number": 50},
    }

    length: Positive = 4
    """Operations in a problem, and so steps in its solution."""

    max_number: Positive = 20
    """Numbers are drawn from 1 to this."""

    operations: Literal["+-", "+-*"] = "+-"
    """The operations that problems are drawn with."""

    modulus: Annotated[int, Field(ge=2)] | None = None
    """If set, every result is reduced to 0 … modulus - 1."""


class CountdownConfig(ProceduralConfig):
    """Reach a target from a few numbers, each used exactly once."""

    PRESETS: ClassVar = {
        "easy": {"numbers": 3},
        "medium": {},
        "hard": {"numbers": 5, "max_target": 60},
    }

    numbers: Annotated[int, Field(ge=3, le=6)] = 4
    """How many numbers a problem has."""

    operations: Literal["+-", "+-*", "+-*/"] = "+-"
    """The operations allowed. No result may be negative, and a division must leave no remainder."""

    max_number: Positive = 9
    """Numbers are drawn from 1 to this."""

    max_target: Positive = 30
    """Targets are drawn from 1 to this, uniformly over the pairs of numbers and target that can be solved."""


class UnitsConfig(ProceduralConfig):
    """Convert an amount into another unit, one known conversion after the other."""

    PRESETS: ClassVar = {
        "easy": {"units": 3},
        "medium": {},
        "hard": {"conversions": 3},
    }

    conversions: Annotated[int, Field(ge=1, le=8)] = 2
    """How many conversions lead to the asked unit."""

    units: Annotated[int, Field(ge=1, le=8)] = 4
    """Of how many units it is known what they are in others, those that lead elsewhere included."""

    choices: Annotated[int, Field(ge=1, le=3)] = 2
    """In how many others each of them is known: of so many turns one is right."""

    max_amount: Positive = 3
    """Amounts to be converted are drawn from 1 to this."""

    max_factor: Annotated[int, Field(ge=2)] = 4
    """Factors are drawn from 2 to this."""

    max_result: Annotated[int, Field(ge=2)] = 99
    """No conversion that the facts allow gives more than this."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.conversions > self.units:
            raise ValueError(f"{self.conversions} conversions lead through as many units: set units to that or more")
        if self.choices > self.max_factor - 1:
            raise ValueError(
                f"{self.choices} choices take as many factors: set max_factor to {self.choices + 1} or more"
            )
        return self


class EquationConfig(ProceduralConfig):
    """Solve a linear equation in one unknown, one operation a line, in the fewest lines possible."""

    PRESETS: ClassVar = {
        "easy": {"lines": 2, "saved_lines": 0, "max_total": 40},
        "medium": {},
        "hard": {"lines": 4, "max_number": 16, "max_coefficient": 6, "max_total": 40},
    }

    lines: Annotated[int, Field(ge=2, le=6)] = 3
    """How many lines the shortest solution takes; no more are allowed."""

    both_sides: bool = True
    """Whether x stands on both sides."""

    at_once: Annotated[int, Field(ge=1, le=9)] = 3
    """How much can be taken off both sides, or put on, in one line."""

    max_number: Positive = 24
    """The number beside x is drawn from 1 to this."""

    max_coefficient: Annotated[int, Field(ge=2)] = 8
    """The numbers before x are drawn from 1 to this; on the left of two, as much more than on the right."""

    max_solution: Positive = 40
    """Solutions are drawn from 1 to this."""

    max_total: Positive = 60
    """The number on the right is at most this."""

    saved_lines: Annotated[int, Field(ge=0, le=3)] = 1
    """At least so many lines more it takes to take off all there is and then divide."""
