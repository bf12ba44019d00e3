"""What can be set of each reasoning task."""

from typing import Annotated, Literal

from pydantic import Field

from trellis import Config

Size = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class ProceduralConfig(Config):
    """How many problems to draw, and from which seed."""

    train_size: Size | None = None
    """Problems of the split `train`; left out, 6000 or all that are found."""

    validation_size: Size | None = None
    """Problems of the split `validation`; left out, 200 or all that are found."""

    test_size: Size | None = None
    """Problems of the split `test`; left out, 500 or all that are found."""

    data_seed: int = 0
    """Fixes the problems and traces. The pipeline's own seed never changes them, so runs stay comparable."""


class ArithmeticConfig(ProceduralConfig):
    """A chain of operations, worked out from left to right."""

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

    numbers: Annotated[int, Field(ge=3, le=6)] = 4
    """How many numbers a problem has."""

    operations: Literal["+-", "+-*", "+-*/"] = "+-"
    """The operations allowed. No result may be negative, and a division must leave no remainder."""

    max_number: Positive = 9
    """Numbers are drawn from 1 to this."""

    max_target: Positive = 30
    """Targets are drawn from 1 to this, uniformly over the pairs of numbers and target that can be solved."""

    traces_per_problem: Positive = 1
    """Different random solutions per problem in `traces`; fewer where no more were found."""
