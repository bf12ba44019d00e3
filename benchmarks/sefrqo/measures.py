"""What speed-ups come to: pure functions of one number a query, the default's time over the method's own."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from trellis.run.measures import paired_bootstrap

NUM = 2000
"""Resamples of an interval."""


class Interval(NamedTuple):
    """A value and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def geometric_mean(speedups: Sequence[float]) -> float:
    """Return exp of the mean logarithm."""
    return math.exp(sum(map(math.log, speedups)) / len(speedups))


def mean_ratio(
    ours: Sequence[float], theirs: Sequence[float], *, clusters: Sequence[Hashable] | None = None
) -> Interval:
    """Return the ratio of two geometric means over the same queries, with its paired bootstrap interval.

    Args:
        ours: A speed-up for each query.
        theirs: The other method's, in the same order.
        clusters: What is drawn as one, e.g. a query under several seeds; each query by itself when left out.
    """
    logs = [[math.log(speedup) for speedup in side] for side in (ours, theirs)]
    return Interval(*map(math.exp, paired_bootstrap(logs[0], logs[1], clusters=clusters, num=NUM)))


def sum_ratio(default_ms: Sequence[float], speedups: Sequence[float]) -> Interval:
    """Return the default's total time over the method's, with a bootstrap interval over queries."""
    default = np.asarray(default_ms, dtype=np.float64)
    own = default / np.asarray(speedups, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(own), size=(NUM, len(own)))
    low, high = np.quantile(default[drawn].sum(1) / own[drawn].sum(1), [0.025, 0.975])
    return Interval(float(default.sum() / own.sum()), float(low), float(high))


def share_slower(speedups: Sequence[float], factor: float) -> float:
    """Return the share of queries that take more than `factor` times the default's time."""
    return sum(speedup * factor < 1 for speedup in speedups) / len(speedups)


def slowest(speedups: Sequence[float]) -> float:
    """Return how many times the default's time the worst query takes; 1 where none is slower."""
    return max(1.0, 1 / min(speedups))


def at_budget(
    served: Sequence[Sequence[float]], seconds: Sequence[Sequence[float]], budget_s: float
) -> tuple[list[float], bool]:
    """Return each query's speed-up when so many seconds of executions are spent, and whether there was more to try.

    Queries are visited in order, again and again; a visit whose end comes after the budget has found nothing yet, and nor
    have those after it.

    Args:
        served: By query, what is served after each of its visits.
        seconds: By query, what each visit took.
        budget_s: Seconds in all.
    """
    found = [1.0] * len(served)
    spent = 0.0
    for visit in range(len(served[0]) if served else 0):
        for query in range(len(served)):
            spent += seconds[query][visit]
            if spent > budget_s:
                return found, True
            found[query] = served[query][visit]
    return found, False
