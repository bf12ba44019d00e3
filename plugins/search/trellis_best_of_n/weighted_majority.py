"""Majority voting with votes weighted by a reward, also called verifier-weighted voting.

Li et al. 2022 (https://arxiv.org/abs/2206.02336) and search-and-learn's "weighted"
(https://github.com/huggingface/search-and-learn): the answer whose completions have the largest sum of scores.

    answer = argmax_a Σ_{i: a_i = a} exp(s_i / T)

Where this differs: both sum the scores themselves, which must then be probabilities. Here a score may be any number, so
its exponential is summed; scores that are log-probabilities give the sources' vote at T = 1. Stopping early (`settle`)
is neither's: it is Adaptive-Consistency (https://arxiv.org/abs/2305.11860) with the effective number of votes.
"""

from __future__ import annotations

from trellis.contracts.aggregation import aggregate
from trellis.contracts.candidates import conclude, softmax, unscored, weighted_shares, weighted_vote
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Trajectory
from trellis_best_of_n.config import WeightedMajorityConfig
from trellis_best_of_n.settled import rounds, share_lead_probability


class WeightedMajority(SearchAlgorithm):
    """Samples n completions and answers with the answer of the largest share of the weighted votes.

    A candidate's score is its answer's share; a completion without an answer has no vote and scores 0. Among equal
    shares the most probable completion is best, then the first found. What a budget leaves unscored stands at -inf and
    has no vote either.
    """

    Config = WeightedMajorityConfig
    needs_reward = True

    def __init__(self, config: WeightedMajorityConfig) -> None:
        self.config = config
        self.aggregate = config.aggregate

    def search(self, root: Trajectory) -> SearchProcess:
        """Ask for completions and their scores, round by round until the vote is settled."""
        config = self.config
        candidates: list[Candidate] = []
        found: tuple[Trajectory, ...] = ()
        try:
            for size in rounds(config.n, batch=config.batch, settle=config.settle):
                sampled: Extended = yield Extend((root,), size, "end", config.temperature)
                found = tuple(trajectory for trajectory in sampled[0] if trajectory.finished)
                if found:
                    scores: Scored = yield Score(found)
                    candidates += [
                        Candidate(t, aggregate(row, config.aggregate)) for t, row in zip(found, scores, strict=True)
                    ]
                    found = ()
                if config.settle is not None and self._lead_probability(candidates) >= config.settle:
                    break
        except BudgetExhausted:
            candidates += unscored(found)
        return conclude(weighted_vote(candidates, config.score_temperature))

    def _lead_probability(self, candidates: list[Candidate]) -> float:
        temperature = self.config.score_temperature
        shares = weighted_shares(candidates, temperature)
        weights = softmax([one.score for one in candidates if one.trajectory.answer is not None], temperature)
        return share_lead_probability(list(shares.values()), weights)
