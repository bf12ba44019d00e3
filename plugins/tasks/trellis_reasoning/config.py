"""What can be set of each reasoning task."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

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
        "easy": {"conversions": 2, "facts": 5, "max_luck": 0.6},
        "medium": {},
        "hard": {"conversions": 4, "facts": 10, "max_luck": 0.1},
    }

    conversions: Annotated[int, Field(ge=1, le=8)] = 3
    """How many conversions the shortest way to the asked unit takes."""

    facts: Annotated[int, Field(ge=1, le=24)] = 8
    """How many conversions are known, those that lead elsewhere included."""

    max_luck: Annotated[float, Field(gt=0, le=1)] = 0.3
    """At most so probable it is that conversions taken at random arrive at the asked unit."""

    max_amount: Positive = 4
    """Amounts to be converted are drawn from 1 to this."""

    max_factor: Annotated[int, Field(ge=2)] = 4
    """Factors are drawn from 2 to this."""

    max_result: Annotated[int, Field(ge=2)] = 99
    """No conversion that the facts allow gives more than this."""


class EquationConfig(ProceduralConfig):
    """Solve a linear equation in one unknown, one operation a line, in the fewest lines possible."""

    PRESETS: ClassVar = {
        "easy": {"numbers": 3, "max_coefficient": 2},
        "medium": {},
        "hard": {"numbers": 5, "x_terms": 3},
    }

    numbers: Annotated[int, Field(ge=2, le=6)] = 4
    """How many terms without x an equation has, both sides together."""

    x_terms: Annotated[int, Field(ge=1, le=3)] = 2
    """How many terms with x an equation has, both sides together."""

    saved_lines: Annotated[int, Field(ge=0, le=3)] = 1
    """At least so many lines are saved by terms that cancel as a group."""

    max_number: Annotated[int, Field(ge=2)] = 12
    """Terms without x are drawn from 1 to this."""

    max_coefficient: Annotated[int, Field(ge=2)] = 3
    """The numbers before x are drawn from 1 to this."""

    max_solution: Positive = 9
    """Solutions are drawn from 1 to this."""
