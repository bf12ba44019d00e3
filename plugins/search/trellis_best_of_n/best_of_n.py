"""Best-of-n: sample whole completions and keep the one the reward likes best."""

from __future__ import annotations

import math

from trellis.contracts.aggregation import aggregate
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, SearchResult, Trajectory
from trellis_best_of_n.config import BestOfNConfig


class BestOfN(SearchAlgorithm):
    """Samples n completions and answers with the finished one of the highest aggregated score.

    Among equal scores the most probable completion is best, then the first found. A budget that ends after the samples
    and before their scores leaves them unscored, at -inf: then the most probable one is the answer.
    """

    Config = BestOfNConfig
    needs_reward = True

    def __init__(self, config: BestOfNConfig) -> None:
        self.config = config
        self.aggregate = config.aggregate

    def search(self, root: Trajectory) -> SearchProcess:
        """Ask for n completions, then for their scores."""
        finished: tuple[Trajectory, ...] = ()
        ranks: list[float] = []
        try:
            sampled: Extended = yield Extend((root,), self.config.n, "end", self.config.temperature)
            finished = tuple(trajectory for trajectory in sampled[0] if trajectory.finished)
            if finished:
                scores: Scored = yield Score(finished)
                ranks = [aggregate(row, self.config.aggregate) for row in scores]
        except BudgetExhausted:
            ranks = [-math.inf] * len(finished)
        candidates = tuple(map(Candidate, finished, ranks))
        best = max(candidates, key=lambda candidate: (candidate.score, candidate.trajectory.log_prob), default=None)
        return SearchResult(best.trajectory if best else None, candidates)
