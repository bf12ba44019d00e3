"""Particle filtering over steps (Puri et al. 2025, https://arxiv.org/abs/2502.01618; code: its_hub 1.2.0).

n particles start at the root. In each round every open one grows by a step; then n are drawn from the population in
proportion to their weights, so that good prefixes are copied and bad ones vanish, by chance and never for certain.

    θ = softmax((s - b) / T)        s: a particle's aggregated score; b: 0, or with `weights: increment` the s it had
                                    when the population was last resampled (at first 0)
    n_eff = 1 / Σ θ²                resample if n_eff < ess_threshold · n

With increments the weights between two resamplings telescope: the population then targets π(trajectory) exp(s / T), and
what was selected for once is not selected for again. The source weighs by the whole score every time.

Where this differs from the source: scores may be any numbers and enter the softmax as they are (the source takes the
logit of a probability, clipped to [1e-7, 1 - 1e-7]); resampling is systematic, where its_hub draws independently; every
finished trajectory that was seen competes at the end, lost in resampling or not; the last round is not resampled, which
could only lose; a trajectory cut by a limit has weight 0; entropic annealing and Gibbs iterations are not here. The search
draws one number a round and takes it from a hash, so that equal answers give equal results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trellis.contracts.aggregation import aggregate
from trellis.contracts.candidates import conclude, softmax, unscored, weighted_vote
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.seeds import derived_seed
from trellis.types import Candidate, Trajectory
from trellis_particle.config import ParticleConfig


@dataclass(frozen=True, slots=True)
class Weighted:
    """A particle.

    Attributes:
        trajectory: The prefix.
        score: s, its aggregated score.
        base: b, what its weight takes off the score.
    """

    trajectory: Trajectory
    score: float = 0.0
    base: float = 0.0


class Particle(SearchAlgorithm):
    """Grows a population of prefixes and resamples it; answers with the best finished trajectory, or by a vote.

    Finished particles stay in the population and are copied or lost like all others; a copy is neither sampled nor
    scored again and is no further candidate. What a budget leaves unscored stands at -inf.
    """

    Config = ParticleConfig
    needs_reward = True

    def __init__(self, config: ParticleConfig) -> None:
        self.config = config
        self.aggregate = config.aggregate

    def search(self, root: Trajectory) -> SearchProcess:
        """Alternate between growing all open particles, scoring them and resampling the population."""
        config = self.config
        population = [Weighted(root)] * config.particles
        found: list[Trajectory] = []
        candidates: list[Candidate] = []
        num_rounds = 0
        try:
            while growing := [one for one in population if one.trajectory.open]:
                found = []
                sampled: Extended = yield Extend(
                    tuple(one.trajectory for one in growing), 1, "step", config.temperature
                )
                grown = [
                    replace(one, trajectory=child)
                    for one, (child,) in zip(growing, sampled, strict=True)
                    if not child.cut
                ]
                found = [one.trajectory for one in grown]
                if found:
                    scores: Scored = yield Score(tuple(found))
                    grown = [
                        replace(one, score=aggregate(row, config.aggregate))
                        for one, row in zip(grown, scores, strict=True)
                    ]
                candidates += [Candidate(one.trajectory, one.score) for one in grown if one.trajectory.finished]
                population = [one for one in population if one.trajectory.finished] + grown
                num_rounds += 1
                if any(one.trajectory.open for one in population):
                    uniform = _uniform(config.seed or 0, root.problem.id, num_rounds)
                    population = self.resample(population, uniform)
        except BudgetExhausted:
            candidates += unscored(found)
        if config.choose == "weighted-majority":
            candidates = weighted_vote(candidates, config.score_temperature)
        return conclude(candidates)

    def resample(self, population: Sequence[Weighted], uniform: float) -> list[Weighted]:
        """Return the next population, `particles` drawn in proportion to their weights, or the same one.

        Args:
            population: At least one particle, those that were cut left out: they have weight 0.
            uniform: In [0, 1), the only random number of the draw.
        """
        config = self.config
        shares = softmax([one.score - one.base for one in population], config.score_temperature)
        num_effective = 1 / math.fsum(share * share for share in shares)
        if num_effective >= config.ess_threshold * config.particles:
            return list(population)
        drawn = [population[index] for index in systematic(shares, config.particles, uniform)]
        return [replace(one, base=one.score) for one in drawn] if config.weights == "increment" else drawn


def systematic(shares: Sequence[float], n: int, uniform: float) -> list[int]:
    """Return n indices, in order: index i as often as `n · shares[i]`, rounded up or down.

    Systematic resampling (Kitagawa 1996; Douc et al. 2005, https://arxiv.org/abs/cs/0507025): the points (k + u) / n are
    looked up in the cumulated shares.

    Args:
        shares: Positive numbers that sum to 1.
        n: How many are drawn.
        uniform: u, in [0, 1).
    """
    indices: list[int] = []
    index, cumulated = 0, shares[0]
    for k in range(n):
        # The last index takes what rounding leaves of the sum.
        while (k + uniform) / n >= cumulated and index < len(shares) - 1:
            index += 1
            cumulated += shares[index]
        indices.append(index)
    return indices


def _uniform(seed: int, problem_id: str, num_rounds: int) -> float:
    """Return a number in [0, 1) that depends on the arguments alone, the same in every process."""
    return derived_seed(seed, problem_id, num_rounds, num_bytes=6) / 2**48
