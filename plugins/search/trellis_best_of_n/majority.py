"""Majority voting, also called self-consistency (Wang et al. 2022, https://arxiv.org/abs/2203.11171)."""

from __future__ import annotations

from collections import Counter

from trellis.contracts.search import Extend, Extended, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, SearchResult, Trajectory
from trellis_best_of_n.config import MajorityConfig


class Majority(SearchAlgorithm):
    """Samples n completions and answers with the answer most of the finished ones agree on.

    A candidate's score is its answer's share of the votes; a completion without an answer has no vote and scores 0.
    Among equal shares the most probable completion is best, then the first found.
    """

    Config = MajorityConfig

    def __init__(self, config: MajorityConfig) -> None:
        self.config = config

    def search(self, root: Trajectory) -> SearchProcess:
        """Ask for n completions and count their answers."""
        try:
            sampled: Extended = yield Extend((root,), self.config.n, "end", self.config.temperature)
        except BudgetExhausted:
            return SearchResult(best=None)
        finished = [trajectory for trajectory in sampled[0] if trajectory.finished]
        votes: Counter[str | None] = Counter(t.answer for t in finished if t.answer is not None)
        candidates = tuple(Candidate(t, votes[t.answer] / votes.total() if votes else 0.0) for t in finished)
        best = max(candidates, key=lambda candidate: (candidate.score, candidate.trajectory.log_prob), default=None)
        return SearchResult(best.trajectory if best else None, candidates)
