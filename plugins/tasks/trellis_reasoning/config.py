"""What can be set of each reasoning task."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trellis.procedural import Positive, ProceduralConfig


class ArithmeticConfig(ProceduralConfig):
    """A chain of operations, worked out one operation per line."""

    PRESETS: ClassVar = {
        "easy": {"length": 1, "max_number": 99},
        "medium": {},
        "hard": {"length": 3, "max_number": 999, "min_carries": 2},
    }

    length: Positive = 2
    """Operations in a problem, and so steps in its solution."""

    max_number: Positive = 49
    """Numbers are drawn up to this: from 1, or with `fixed_width` from the smallest that has as many digits."""

    fixed_width: bool = True
    """Whether all results, from left to right, have as many digits as `max_number`; no effect with a modulus."""

    min_carries: Annotated[int, Field(ge=0)] = 1
    """At least so many of the operations, from left to right, carry or borrow a ten."""

    operations: Literal["+-", "+-*"] = "+-"
    """The operations that problems are drawn with."""

    modulus: Annotated[int, Field(ge=2)] | None = None
    """If set, every result is reduced to 0 … modulus - 1."""

    style: Literal["varied", "canonical"] = "canonical"
    """How traces solve: "canonical", from left to right; "varied", in an order drawn from all that are legal."""

    @model_validator(mode="after")
    def _carries_exist(self) -> "ArithmeticConfig":
        if self.min_carries > self.length:
            raise ValueError(f"min_carries is {self.min_carries}: of {self.length} operations no more can carry")
        if self.min_carries and self.fixed_width and self.modulus is None and self.max_number < 10:
            raise ValueError(
                "no result of one digit carries: set min_carries to 0, fixed_width to false, or max_number to 10 or more"
            )
        return self


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


class PathConfig(ProceduralConfig):
    """Find a way from a start to a goal through a directed graph with dead ends."""

    PRESETS: ClassVar = {
        "easy": {"nodes": 5, "branches": 2, "max_chance": 0.5},
        "medium": {},
        "hard": {"nodes": 7, "dead_ends": 4, "min_length": 4, "max_chance": 0.15},
    }

    nodes: Annotated[int, Field(ge=2, le=20)] = 6
    """How many nodes have edges."""

    dead_ends: Annotated[int, Field(ge=1, le=6)] = 3
    """How many nodes have none."""

    branches: Positive = 3
    """How many edges a node has that is no dead end."""

    span: Positive = 4
    """An edge skips fewer than so many nodes of the hidden order in which all edges run forward."""

    min_length: Positive = 3
    """The goal is at least so many edges away."""

    max_chance: Annotated[float, Field(gt=0, le=1)] = 0.3
    """A walk that takes an edge at random each time reaches the goal with at most this probability."""

    @model_validator(mode="after")
    def _goals_exist(self) -> "PathConfig":
        if self.branches > min(self.dead_ends, self.span):
            raise ValueError(f"branches is {self.branches}: it takes as many dead_ends, and as large a span")
        if self.min_length > self.nodes:
            raise ValueError(f"min_length is {self.min_length}: with {self.nodes} nodes nothing is so far")
        return self


class LogicConfig(ProceduralConfig):
    """Derive a goal from facts by rules, in a limited number of steps."""

    PRESETS: ClassVar = {
        "easy": {"letters": 5, "two_premises": 1, "steps": 2, "max_chance": 0.75},
        "medium": {},
        "hard": {"letters": 10, "two_premises": 3, "steps": 4, "max_chance": 0.1},
    }

    letters: Annotated[int, Field(ge=3, le=12)] = 8
    """How many letters are premises."""

    dead_ends: Annotated[int, Field(ge=1, le=6)] = 2
    """How many letters are conclusions only."""

    branches: Positive = 1
    """How many rules have a letter as their only premise, of each that is a premise."""

    two_premises: Annotated[int, Field(ge=0, le=8)] = 2
    """How many rules have two premises."""

    span: Positive = 4
    """A conclusion is at most so many letters behind its premises in the hidden order in which all rules run forward."""

    facts: Positive = 2
    """How many letters are given."""

    steps: Positive = 3
    """The goal's shortest derivation takes exactly so many steps."""

    spare_steps: Annotated[int, Field(ge=0, le=10)] = 0
    """How many steps more than that are allowed: so many useless rules may be applied."""

    max_chance: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Rules applied at random, among those that derive something new, reach the goal with at most this probability."""

    @model_validator(mode="after")
    def _goals_exist(self) -> "LogicConfig":
        if self.branches > min(self.dead_ends, self.span):
            raise ValueError(f"branches is {self.branches}: it takes as many dead_ends, and as large a span")
        if (rules := self.letters * self.branches + self.two_premises) > 16:
            raise ValueError(f"there are {rules} rules (letters * branches + two_premises): at most 16 can be searched")
        if self.facts > self.letters:
            raise ValueError(f"facts is {self.facts}: they are drawn from the {self.letters} letters")
        after = (self.letters + self.dead_ends - second - 1 for second in range(1, self.letters))
        most = sum(second * min(self.span, behind) for second, behind in enumerate(after, start=1))
        if self.two_premises > most:
            raise ValueError(
                f"two_premises is {self.two_premises}: with these letters, dead_ends and span there are only {most} such rules"
            )
        if self.steps + self.facts > self.letters + self.dead_ends:
            raise ValueError(f"steps is {self.steps}: letters and dead_ends without facts are too few for so many")
        return self


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
        if self.choices == 1 and self.units > self.conversions:
            raise ValueError(
                f"with 1 choice no unit leads elsewhere: set units to {self.conversions}, or choices to 2 or more"
            )
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
