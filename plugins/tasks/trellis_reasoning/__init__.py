"""Procedural reasoning tasks with exact verifiers and exact step oracles."""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_reasoning.config import (
    ArithmeticConfig,
    CountdownConfig,
    EquationConfig,
    LogicConfig,
    PathConfig,
    UnitsConfig,
)

_EXACT = frozenset({"traces", "step-oracle", "parse"})


@hookimpl
def trellis_tasks() -> Iterable[Component]:
    """Return the tasks of this plugin."""
    yield Component(
        "arithmetic",
        "a chain of operations, one per line",
        ArithmeticConfig,
        "trellis_reasoning.arithmetic:Arithmetic",
        capabilities=_EXACT | {"legal-steps"},
    )
    yield Component(
        "countdown",
        "reach a target from 3 to 6 numbers, each used once",
        CountdownConfig,
        "trellis_reasoning.countdown:Countdown",
        capabilities=_EXACT | {"legal-steps"},
    )
    yield Component(
        "path",
        "a way through a directed graph with dead ends",
        PathConfig,
        "trellis_reasoning.path:Path",
        capabilities=_EXACT | {"legal-steps"},
    )
    yield Component(
        "logic",
        "derive a goal from facts by rules, in a limited number of steps",
        LogicConfig,
        "trellis_reasoning.logic:Logic",
        capabilities=_EXACT | {"legal-steps"},
    )
    yield Component(
        "units",
        "convert an amount into another unit, one known conversion after the other",
        UnitsConfig,
        "trellis_reasoning.units:Units",
        capabilities=_EXACT | {"legal-steps"},
    )
    yield Component(
        "equation",
        "solve a linear equation, one operation a line, without a line to waste",
        EquationConfig,
        "trellis_reasoning.equation:Equation",
        capabilities=_EXACT | {"legal-steps"},
    )
