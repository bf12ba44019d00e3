"""Beam search over steps with a process reward (as in search-and-learn, https://github.com/huggingface/search-and-learn).

Where this differs from search-and-learn: kept prefixes are not copied to fill the beam, but share the samples of the
next round; rounds end when no open prefix is left, their number is the driver's `max_steps`; there is no lookahead.
"""

from __future__ import annotations

from trellis.contracts.aggregation import aggregate
from trellis.contracts.candidates import conclude, distinct, rank, unscored
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Trajectory
from trellis_beam.config import BeamConfig


class Beam(SearchAlgorithm):
    """Grows the `width` best open prefixes by one step a round; answers with the best finished trajectory found.

    Finished trajectories are kept aside: they take no place in the beam, and compete among themselves at the end, by
    the score they had when they finished. Among equal scores the most probable is best, then the first found. What a
    budget leaves unscored stands at -inf.
    """

    Config = BeamConfig
    needs_reward = True

    def __init__(self, config: BeamConfig) -> None:
        self.config = config
        self.aggregate = config.aggregate

    def search(self, root: Trajectory) -> SearchProcess:
        """Alternate between extending the kept prefixes and scoring what came of it."""
        config = self.config
        kept: tuple[Trajectory, ...] = (root,)
        found: list[Trajectory] = []
        candidates: list[Candidate] = []
        try:
            while kept:
                found = []
                num_each = max(1, config.width * config.expand // len(kept))
                grown: Extended = yield Extend(kept, num_each, "step", config.temperature)
                found = [child for children in grown for child in children if not child.cut]
                if config.dedupe:
                    found = distinct(found)
                if not found:
                    break
                scores: Scored = yield Score(tuple(found))
                ranked = [Candidate(t, aggregate(row, config.aggregate)) for t, row in zip(found, scores, strict=True)]
                candidates += [one for one in ranked if one.trajectory.finished]
                beam = sorted((one for one in ranked if one.trajectory.open), key=rank, reverse=True)
                kept = tuple(one.trajectory for one in beam[: config.width])
        except BudgetExhausted:
            candidates += unscored(found)
        return conclude(candidates)
