"""Best-of-n: sample whole completions and keep the one the reward likes best.

With `settle` it draws its samples in rounds and stops when more of them would hardly change the answer; the rule is
this project's own and stands at `best_stays_probability`.
"""

from __future__ import annotations

from trellis.contracts.aggregation import aggregate
from trellis.contracts.candidates import conclude, rank, unscored
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Trajectory
from trellis_best_of_n.config import BestOfNConfig
from trellis_best_of_n.settled import best_stays_probability, rounds


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
        """Ask for completions, then for their scores, round by round until the answer is settled."""
        config = self.config
        candidates: list[Candidate] = []
        found: tuple[Trajectory, ...] = ()
        num_drawn = 0
        try:
            for size in rounds(config.n, batch=config.batch, settle=config.settle):
                sampled: Extended = yield Extend((root,), size, "end", config.temperature)
                num_drawn += size
                found = tuple(trajectory for trajectory in sampled[0] if trajectory.finished)
                if found:
                    scores: Scored = yield Score(found)
                    candidates += [
                        Candidate(t, aggregate(row, config.aggregate)) for t, row in zip(found, scores, strict=True)
                    ]
                    found = ()
                ranked = sorted(candidates, key=rank, reverse=True)
                if (
                    config.settle is not None
                    and best_stays_probability(ranked, num_drawn=num_drawn, n=config.n) >= config.settle
                ):
                    break
        except BudgetExhausted:
            candidates += unscored(found)
        return conclude(candidates)
