"""When to stop sampling: after each round of samples, how likely it is that more of them would not change the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trellis.types import Candidate


def rounds(n: int, *, batch: int, settle: float | None) -> Iterator[int]:
    """Yield how many samples each round draws, `n` in all: one round of `n` where the answer is never settled early."""
    size = n if settle is None else batch
    for drawn in range(0, n, size):
        yield min(size, n - drawn)


def lead_probability(leader: float, runner_up: float) -> float:
    """Return the probability that the leading answer is the more frequent one of the two that have the most votes.

    Adaptive-Consistency (Aggarwal et al. 2023, https://arxiv.org/abs/2305.11860): with p the leader's share of the votes of
    the two, v1 and v2 votes seen and a uniform prior,

        P(p > 1/2 | v1, v2) = 1 - I_{1/2}(v1 + 1, v2 + 1)

    where I is the regularised incomplete beta function. Its series of positive terms is exact for any v1 >= v2 >= 0,
    whole numbers or not (DLMF 8.17.8, https://dlmf.nist.gov/8.17):

        I_x(a, b) = x^a (1-x)^b / (a B(a, b)) · Σ_k x^k Π_{j<k} (a + b + j) / (a + 1 + j)
    """
    a, b = leader + 1.0, runner_up + 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a + 1) - math.lgamma(b) - (a + b) * math.log(2)
    total, term, k = 0.0, 1.0, 0
    while term > total * 1e-17:
        total += term
        term *= (a + b + k) / (a + 1 + k) / 2
        k += 1
    return 1.0 - math.exp(log_front) * total


def vote_lead_probability(counts: Sequence[int], *, num_left: int) -> float:
    """Return `lead_probability` of the two largest counts; 1 where the samples left cannot close the gap."""
    first, second = sorted((*counts, 0, 0), reverse=True)[:2]
    return 1.0 if first - second > num_left else lead_probability(first, second)


def share_lead_probability(shares: Sequence[float], weights: Sequence[float]) -> float:
    """Return `lead_probability` of the two largest shares of a vote with unequal weights.

    Unequal votes tell less than as many equal ones. They count as Kish's effective number of votes, split by shares:

        v_a = share(a) · (Σ w)² / Σ w²
    """
    if not weights:
        return 0.0
    num_effective = math.fsum(weights) ** 2 / math.fsum(weight * weight for weight in weights)
    first, second = sorted((*shares, 0.0, 0.0), reverse=True)[:2]
    return lead_probability(first * num_effective, second * num_effective)


def best_stays_probability(ranked: Sequence[Candidate], *, num_drawn: int, n: int) -> float:
    """Return an estimate of the probability that the best of `n` samples has the same answer as the best of those drawn.

    The samples are exchangeable, so the best of all n is among the k drawn with probability k/n, whatever the reward.
    If it is a new one, it will stand above all others, and its answer is judged by those that stand highest now: if
    the best m agree on the answer, by Laplace's rule of succession the next agrees with probability (m + 1) / (m + 2).

        P = k/n + (1 - k/n) (m + 1) / (m + 2)

    The first term is exact, the second an estimate; neither is corrected for being looked at after every round.

    Args:
        ranked: What is scored, best first. A completion without an answer agrees with none.
        num_drawn: k, the samples drawn so far, those that did not finish included.
        n: How many there may be.
    """
    if not ranked:
        return 0.0
    answer = ranked[0].trajectory.answer
    num_agree = 1
    for one in ranked[1:]:
        if answer is None or one.trajectory.answer != answer:
            break
        num_agree += 1
    seen = num_drawn / n
    return seen + (1 - seen) * (num_agree + 1) / (num_agree + 2)
