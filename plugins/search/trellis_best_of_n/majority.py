"""Majority voting, also called self-consistency (Wang et al. 2022, https://arxiv.org/abs/2203.11171).

With `settle` it is Adaptive-Consistency (Aggarwal et al. 2023, https://arxiv.org/abs/2305.11860), which stops when the
leader's probability of staying ahead reaches a bar. Where this differs from the authors' code: it looks after each round
of `batch` samples and not after each sample, and it also stops where the samples left could not change the answer.
"""

from __future__ import annotations

from collections import Counter

from trellis.contracts.candidates import conclude
from trellis.contracts.search import Extend, Extended, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Trajectory
from trellis_best_of_n.config import MajorityConfig
from trellis_best_of_n.settled import rounds, vote_lead_probability


class Majority(SearchAlgorithm):
    """Samples n completions and answers with the answer most of the finished ones agree on.

    A candidate's score is its answer's share of the votes; a completion without an answer has no vote and scores 0.
    Among equal shares the most probable completion is best, then the first found.
    """

    Config = MajorityConfig

    def __init__(self, config: MajorityConfig) -> None:
        self.config = config

    def search(self, root: Trajectory) -> SearchProcess:
        """Ask for completions and count their answers, round by round until the vote is settled."""
        config = self.config
        finished: list[Trajectory] = []
        votes: Counter[str] = Counter()
        num_left = config.n
        try:
            for size in rounds(config.n, batch=config.batch, settle=config.settle):
                sampled: Extended = yield Extend((root,), size, "end", config.temperature)
                num_left -= size
                found = [trajectory for trajectory in sampled[0] if trajectory.finished]
                finished += found
                votes.update(trajectory.answer for trajectory in found if trajectory.answer is not None)
                counts = list(votes.values())
                if config.settle is not None and vote_lead_probability(counts, num_left=num_left) >= config.settle:
                    break
        except BudgetExhausted:
            pass
        return conclude(
            Candidate(t, votes[t.answer] / votes.total() if t.answer is not None else 0.0) for t in finished
        )
