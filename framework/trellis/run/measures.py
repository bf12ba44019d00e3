"""How well a reward tells correct rollouts from others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trellis.types import Rollout


def within_problem_auc(rollouts: Sequence[Rollout], scores: Sequence[float]) -> float | None:
    """Return the probability that a correct rollout scores above an incorrect one of the same problem.

    Ties count half. Problems whose rollouts are all correct or all incorrect say nothing; None when all are so. Within
    a problem, because a score that only knows which problems are easy helps no search.
    """
    groups: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for rollout, score in zip(rollouts, scores, strict=True):
        groups[rollout.trajectory.problem.id][rollout.outcome.correct].append(score)
    values = [
        sum((good > bad) + 0.5 * (good == bad) for good in right for bad in wrong) / (len(right) * len(wrong))
        for wrong, right in groups.values()
        if wrong and right
    ]
    return sum(values) / len(values) if values else None
