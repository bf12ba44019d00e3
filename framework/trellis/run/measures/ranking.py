"""How well scores order what they score: AUC over rollouts and over steps, and Spearman's correlation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from trellis.types import Rollout


class StepAUC(NamedTuple):
    """The AUC of step scores against the step oracle; None where there is nothing to compare.

    Attributes:
        pooled: Over all pairs of a good and a bad step, of whatever problems.
        within_problem: The mean over problems of the AUC among the problem's own steps.
    """

    pooled: float | None
    within_problem: float | None


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Return the probability that a positive scores above a negative; ties count half.

    AUC = (R - p (p + 1) / 2) / (p n), with p positives, n negatives and R the sum of the positives' ranks: the
    statistic of Mann and Whitney (https://doi.org/10.1214/aoms/1177730491).

    Returns:
        A number in [0, 1]; None where all labels are the same.
    """
    label = np.asarray(labels, dtype=bool)
    if len(label) != len(scores):
        raise ValueError(f"{len(scores)} scores and {len(label)} labels: there must be one label per score")
    positive = int(label.sum())
    negative = len(label) - positive
    if not positive or not negative:
        return None
    above = _ranks(np.asarray(scores, dtype=np.float64))[label].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def within_problem_auc(rollouts: Sequence[Rollout], scores: Sequence[float]) -> float | None:
    """Return the probability that a correct rollout scores above an incorrect one of the same problem.

    Ties count half. Problems whose rollouts are all correct or all incorrect say nothing; None when all are so. Within
    a problem, because a score that only knows which problems are easy helps no search.
    """
    ids = [rollout.trajectory.problem.id for rollout in rollouts]
    return _grouped_auc(ids, scores, [rollout.outcome.correct for rollout in rollouts])


def step_auc(
    rollouts: Sequence[Rollout], scores: Sequence[Sequence[float]], labels: Sequence[Sequence[bool]]
) -> StepAUC:
    """Return how well the scores of steps tell those after which the problem can still be solved from the others.

    Every step of every rollout counts once. The pooled number rewards a score that knows which problems are hard as well
    as one that knows which steps are wrong; the number within problems rewards the latter alone.

    Args:
        rollouts: Whose steps.
        scores: One float per step of each rollout.
        labels: What `Task.step_oracle` says of each step.
    """
    for rollout, row, truth in zip(rollouts, scores, labels, strict=True):
        if not len(row) == len(truth) == len(rollout.trajectory.steps):
            raise ValueError(
                f"problem {rollout.trajectory.problem.id}: {len(rollout.trajectory.steps)} steps, {len(row)} scores and "
                f"{len(truth)} labels: there must be one score and one label per step"
            )
    ids = [rollout.trajectory.problem.id for rollout, row in zip(rollouts, scores, strict=True) for _ in row]
    flat = [score for row in scores for score in row]
    truth = [label for row in labels for label in row]
    return StepAUC(auc(flat, truth), _grouped_auc(ids, flat, truth))


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, in [-1, 1]: Pearson's correlation of the ranks, equal values sharing theirs.

    None where either is constant.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values cannot be paired")
    if len(first) < 2:
        return None
    a, b = (_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / scale, -1.0, 1.0)) if scale > 0 else None


def _grouped_auc(ids: Iterable[str], scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    groups: dict[str, tuple[list[float], list[bool]]] = defaultdict(lambda: ([], []))
    for name, score, label in zip(ids, scores, labels, strict=True):
        groups[name][0].append(score)
        groups[name][1].append(label)
    values = [value for of in groups.values() if (value := auc(*of)) is not None]
    return sum(values) / len(values) if values else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[place]
