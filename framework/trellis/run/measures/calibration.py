"""Calibration: whether a score, read as a probability, is right as often as it says.

A reward's score is any number, so it is turned into a probability first: p = σ(slope · score + offset), fitted on one half
of the problems and measured on the other. What is measured is therefore how well the *shape* of the score fits, not its
unit; a score that orders perfectly can still be badly calibrated after this, and one that knows nothing gets the base
rate, which is well calibrated and has the worst Brier score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Logistic(NamedTuple):
    """p = σ(slope · score + offset)."""

    slope: float
    offset: float

    def probabilities(self, scores: Sequence[float]) -> np.ndarray:
        """Return the probability of each score, in [0, 1]."""
        return _sigmoid(self.slope * np.asarray(scores, dtype=np.float64) + self.offset)


class Calibration(NamedTuple):
    """How well calibrated a score is on problems that were held out.

    Attributes:
        ece: The expected calibration error, in [0, 1]; 0 is best.
        brier: The Brier score, in [0, 1]; 0 is best.
        logistic: What turned scores into probabilities, fitted on the other half.
    """

    ece: float
    brier: float
    logistic: Logistic


def fit_logistic(scores: Sequence[float], labels: Sequence[bool]) -> Logistic:
    """Fit σ(slope · score + offset) by Newton's method on the cross-entropy, with Platt's targets.

    The targets are (p + 1) / (p + 2) for the p positives and 1 / (n + 2) for the n negatives (Platt 1999), so that the
    fit stays finite where the scores separate the labels; the step is halved until the loss falls (Lin, Lin and Weng 2007,
    https://doi.org/10.1007/s10994-007-5018-6).
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if not len(x) or len(x) != len(y):
        raise ValueError(f"{len(x)} scores and {len(y)} labels: give one label per score, at least one")
    positive = int(y.sum())
    target = np.where(y, (positive + 1) / (positive + 2), 1 / (len(y) - positive + 2))
    # In standard units Newton's matrix is well conditioned, whatever the unit of the score.
    centre, scale = float(x.mean()), float(x.std())
    if np.ptp(x) <= 1e-12 * np.abs(x).max():
        # All the same but for rounding: nothing to be told from it.
        x, scale = np.full_like(x, centre), 1.0
    design = np.stack([(x - centre) / scale, np.ones_like(x)], axis=1)
    weights = np.array([0.0, np.log((positive + 1) / (len(y) - positive + 1))])
    loss = _cross_entropy(design @ weights, target)
    for _ in range(100):
        p = _sigmoid(design @ weights)
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        if float(gradient @ step) < 1e-12:
            break
        size = 1.0
        while (new := _cross_entropy(design @ (weights - size * step), target)) > loss and size > 1e-10:
            size /= 2
        weights, loss = weights - size * step, min(loss, new)
    slope = float(weights[0] / scale)
    return Logistic(slope, float(weights[1] - slope * centre))


def expected_calibration_error(probabilities: Sequence[float], labels: Sequence[bool], *, bins: int = 10) -> float:
    """Return the mean distance between what was said and what came true, over bins of equal width.

    ECE = Σ_b |B_b| / N · |mean label - mean probability| (Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3).
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=y, minlength=bins) - np.bincount(place, weights=p, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def brier_score(probabilities: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the mean squared distance between probability and label (Brier 1950)."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    return float(np.mean((p - y) ** 2))


def held_out_calibration(
    scores: Sequence[float], labels: Sequence[bool], groups: Sequence[str], *, seed: int = 0, bins: int = 10
) -> Calibration | None:
    """Fit `fit_logistic` on one half of the groups and measure on the other.

    Args:
        scores: Any numbers, higher is better.
        labels: Whether each came true.
        groups: What each belongs to, e.g. its problem: groups are not split.
        seed: Draws the halves.
        bins: Of the expected calibration error.

    Returns:
        The calibration; None where there are fewer than two groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(names))
    fitted = {names[i] for i in order[: len(names) // 2]}
    fit = [i for i, group in enumerate(groups) if group in fitted]
    held = [i for i, group in enumerate(groups) if group not in fitted]
    logistic = fit_logistic([scores[i] for i in fit], [labels[i] for i in fit])
    p, truth = logistic.probabilities([scores[i] for i in held]), [labels[i] for i in held]
    return Calibration(
        expected_calibration_error(p.tolist(), truth, bins=bins), brier_score(p.tolist(), truth), logistic
    )


def _sigmoid(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1, e) / (1 + e))


def _cross_entropy(z: np.ndarray, target: np.ndarray) -> float:
    return float(np.sum(np.logaddexp(0.0, z) - target * z))
