"""What can be set of each reasoning task."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trellis.procedural import Positive, ProceduralConfig


class ArithmeticConfig(ProceduralConfig):
    """A chain of operations, worked out one operation per line."""

    PRESETS: ClassVar = {
        "easy": {"max_number": 29},
        "medium": {},
        "hard": {"length": 3, "max_number": 999, "min_carries": 2},
    }

    length: Positive = 2
    """Operations in a problem, and so steps in its solution."""

    max_number: Positive = 99
    """Numbers are drawn up to this: from 1, or with `fixed_width` from the smallest that has as many digits."""

    fixed_width: bool = True
    """Whether all results, from left to right, have as many digits as `max_number`; no effect with a modulus."""

    min_carries: Annotated[int, Field(ge=0)] = 1
    """At least so many of the operations, from left to right, carry or borrow a ten."""

    operations: Literal["+-", "+-*"] = "+-"
    """The operations that problems are drawn with."""

    modulus: Annotated[int, Field(ge=2)] | None = None
    """If set, every result is reduced to 0 … modulus - 1."""

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
        "easy": {"nodes": 6, "edges": 8, "min_length": 2, "max_chance": 0.75},
        "medium": {},
        "hard": {"nodes": 14, "edges": 22, "min_length": 5, "max_chance": 0.2},
    }

    nodes: Annotated[int, Field(ge=3, le=26)] = 10
    """How many nodes there are to draw edges between; those without an edge are not mentioned."""

    edges: Annotated[int, Field(ge=2)] = 14
    """How many edges a problem has, if there are as many pairs of nodes."""

    span: Positive = 4
    """An edge skips fewer than so many nodes of the hidden order in which all edges run forward."""

    min_length: Positive = 3
    """The goal is at least so many edges away."""

    max_chance: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A walk that takes an edge at random each time reaches the goal with at most this probability."""

    @model_validator(mode="after")
    def _goals_exist(self) -> "PathConfig":
        if self.min_length > min(self.nodes - 1, self.edges):
            raise ValueError(
                f"min_length is {self.min_length}: with {self.nodes} nodes and {self.edges} edges nothing is so far"
            )
        return self


class LogicConfig(ProceduralConfig):
    """Derive a goal from facts by rules, in a limited number of steps."""

    PRESETS: ClassVar = {
        "easy": {"facts": 2, "rules": 5, "steps": 2, "max_chance": 0.75},
        "medium": {},
        "hard": {"facts": 3, "rules": 11, "steps": 5, "max_chance": 0.1},
    }

    facts: Annotated[int, Field(ge=1, le=10)] = 3
    """How many letters are given."""

    rules: Annotated[int, Field(ge=2, le=16)] = 8
    """How many rules there are, those of no use among them."""

    steps: Positive = 3
    """The goal's shortest derivation takes exactly so many steps."""

    spare_steps: Annotated[int, Field(ge=0, le=10)] = 0
    """How many steps more than that are allowed: so many useless rules may be applied."""

    two_premises: Annotated[float, Field(ge=0, le=1)] = 0.4
    """The share of rules with two premises; the others have one."""

    max_chance: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Rules applied at random, among those that derive something new, reach the goal with at most this probability."""

    @model_validator(mode="after")
    def _goals_exist(self) -> "LogicConfig":
        if self.steps > self.rules:
            raise ValueError(f"steps is {self.steps}: with {self.rules} rules nothing takes so many")
        return self
