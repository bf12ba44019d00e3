"""What searches share: how candidates rank and vote, and when two trajectories are the same."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from trellis.types import Candidate, SearchResult, Trajectory


def rank(candidate: Candidate) -> tuple[float, float]:
    """Return what candidates are compared by: the score, and among equal scores log π."""
    return candidate.score, candidate.trajectory.log_prob


def conclude(candidates: Iterable[Candidate]) -> SearchResult:
    """Return the result that answers with the best of finished candidates: the first of those that `rank` highest."""
    found = tuple(candidates)
    best = max(found, key=rank, default=None)
    return SearchResult(best.trajectory if best else None, found)


def unscored(trajectories: Iterable[Trajectory]) -> list[Candidate]:
    """Return a candidate at -inf, below all that have a score, for each finished trajectory."""
    return [Candidate(trajectory, -math.inf) for trajectory in trajectories if trajectory.finished]


def distinct(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """Return the first trajectory of each text; one that ended is not the same as one that can go on."""
    first: dict[tuple[str, bool], Trajectory] = {}
    for trajectory in trajectories:
        first.setdefault((trajectory.text, trajectory.finished), trajectory)
    return list(first.values())


def softmax(scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Return positive weights that sum to 1: `w_i = exp(s_i / T) / Σ_j exp(s_j / T)`.

    Args:
        scores: Any numbers of which at least one is finite; -inf weighs 0.
        temperature: T, above 0: towards 0 only the highest score counts, at large T all count the same.
    """
    highest = max(scores, default=0.0)
    weights = [math.exp((score - highest) / temperature) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def weighted_shares(candidates: Sequence[Candidate], temperature: float) -> dict[str, float]:
    """Return each answer's share of the votes, where a candidate's vote weighs `exp(score / temperature)`.

        share(a) = Σ_{i: a_i = a} w_i,    w = softmax(s / T) over the candidates that have a score and an answer

    The weighted vote of Li et al. 2022 (https://arxiv.org/abs/2206.02336) weighs by a verifier's probability; scores
    here may be any numbers, so they go through an exponential. With scores that are log-probabilities and T = 1 the two
    are the same.
    """
    votes = [
        (answer, one.score)
        for one in candidates
        if (answer := one.trajectory.answer) is not None and one.score > -math.inf
    ]
    shares: defaultdict[str, float] = defaultdict(float)
    for (answer, _), weight in zip(votes, softmax([score for _, score in votes], temperature), strict=True):
        shares[answer] += weight
    return dict(shares)


def weighted_vote(candidates: Sequence[Candidate], temperature: float) -> list[Candidate]:
    """Return the candidates, each with its answer's share of the votes (`weighted_shares`) as its score.

    One without an answer has no vote and scores 0; one without a score stays at -inf.
    """
    shares = weighted_shares(candidates, temperature)
    return [
        one
        if one.score == -math.inf
        else Candidate(one.trajectory, 0.0 if (answer := one.trajectory.answer) is None else shares[answer])
        for one in candidates
    ]
