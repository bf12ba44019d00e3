"""Greedy decoding: one completion at temperature 0."""

from __future__ import annotations

from trellis.contracts.search import Extend, Extended, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, SearchResult, Trajectory
from trellis_best_of_n.config import GreedyConfig


class Greedy(SearchAlgorithm):
    """Takes the most probable token each time. Its candidate's score is the completion's log-probability."""

    Config = GreedyConfig

    def __init__(self, config: GreedyConfig) -> None:
        self.config = config

    def search(self, root: Trajectory) -> SearchProcess:
        """Ask for one completion."""
        try:
            sampled: Extended = yield Extend((root,), until="end", temperature=0.0)
        except BudgetExhausted:
            return SearchResult(best=None)
        found = sampled[0][0]
        if not found.finished:
            return SearchResult(best=None)
        return SearchResult(found, (Candidate(found, found.log_prob),))
