"""The paired bootstrap: how sure a difference between two measurements of the same problems is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

_CHUNK = 1 << 22
"""At most so many counts are drawn at once: 32 MiB."""


class Difference(NamedTuple):
    """A mean difference and the ends of its 95% interval."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num: int = 10_000,
) -> Difference:
    """Return the mean of a - b with its 95% percentile interval under resampling of problems.

    Both were measured on the same problems, so a problem is drawn with both of its outcomes (Efron and Tibshirani 1993,
    chapter 8). With clusters, whole clusters are drawn (Field and Welsh 2007,
    https://doi.org/10.1111/j.1467-9868.2007.00593.x): problems of one task, or one problem's outcomes under several
    seeds, are not independent, and as if they were the interval would be too narrow.

    Args:
        a: One outcome per problem, e.g. 1.0 where it was solved.
        b: The other method's outcomes, in the same order.
        clusters: What each problem belongs to; each its own cluster when left out.
        seed: Of the resampling.
        num: How many resamples.
    """
    if len(a) != len(b) or not len(a) or (clusters is not None and len(clusters) != len(a)):
        sizes = f"{len(a)} and {len(b)} outcomes" + ("" if clusters is None else f" in {len(clusters)} clusters")
        raise ValueError(f"{sizes} cannot be paired: give one of each per problem, at least one")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    numbers: dict[Hashable, int] = {}
    cluster = [numbers.setdefault(c, len(numbers)) for c in (range(len(a)) if clusters is None else clusters)]
    sums = np.bincount(cluster, weights=differences)
    sizes_ = np.bincount(cluster)
    rng, count = np.random.default_rng(seed), len(sums)
    means: list[np.ndarray] = []
    rows = max(1, _CHUNK // count)
    for first in range(0, num, rows):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(rows, num - first))
        means.append((drawn @ sums) / (drawn @ sizes_))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Difference(float(differences.mean()), float(low), float(high))
