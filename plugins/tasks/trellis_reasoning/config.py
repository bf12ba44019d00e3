"""What can be set of each reasoning task."""

from typing import Annotated, ClassVar, Literal

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
    """A conclusion is fewer than so many letters behind its premises in the hidden order in which all rules run forward."""

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
        if self.steps + self.facts > self.letters + self.dead_ends:
            raise ValueError(f"steps is {self.steps}: letters and dead_ends without facts are too few for so many")
        return self
