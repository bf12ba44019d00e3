"""From one score per step to one number per trajectory: what searches rank by and evaluations name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

Aggregate: TypeAlias = Literal["last", "min", "mean", "sum", "product"]

_AGGREGATES: dict[Aggregate, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "mean": lambda scores: math.fsum(scores) / len(scores),
    "sum": math.fsum,
    "product": math.prod,
}


def aggregate(scores: Sequence[float], how: Aggregate) -> float:
    """Reduce the scores of a trajectory's steps to one number, higher is better.

    A reward's score of a step is the worth of the whole prefix that ends with it, so "last" is the natural choice;
    "min" finds the weakest step; "mean" and "sum" weigh all of them ("sum" grows with the number of steps, for better
    or worse); "product" is for scores that are probabilities: with negative scores its sign means nothing.

    Returns:
        The number; -inf where there are no steps, so that a trajectory nobody could judge ranks below all others.
    """
    return float(_AGGREGATES[how](scores)) if scores else -math.inf
