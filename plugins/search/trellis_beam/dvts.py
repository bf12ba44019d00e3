"""Diverse verifier tree search: independent subtrees, in each of which the best step goes on.

After search-and-learn (https://github.com/huggingface/search-and-learn, diverse_verifier_tree_search.py), where `n / m`
subtrees of `m` continuations each are grown side by side. Where this differs: a subtree that has found a finished
trajectory keeps it aside and goes on with its best open step, as `beam` does, instead of ending with it; every finished
trajectory competes at the end, not only the last step's; there is no lookahead.
"""

from __future__ import annotations

from trellis.contracts.aggregation import aggregate
from trellis.contracts.candidates import conclude, distinct, rank, unscored
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Trajectory
from trellis_beam.config import DvtsConfig


class Dvts(SearchAlgorithm):
    """Runs `trees` beams of width 1 side by side; answers with the best finished trajectory of all of them.

    The subtrees do not know of each other, so one misjudged step spoils one of them and not the whole beam. They
    advance in the same rounds: one `Extend` and one `Score` for all. Among equal scores the most probable is best, then
    the first found. What a budget leaves unscored stands at -inf.
    """

    Config = DvtsConfig
    needs_reward = True

    def __init__(self, config: DvtsConfig) -> None:
        self.config = config
        self.aggregate = config.aggregate

    def search(self, root: Trajectory) -> SearchProcess:
        """Alternate between extending each subtree's prefix and scoring what came of it."""
        config = self.config
        kept: tuple[Trajectory, ...] = (root,) * config.trees
        found: list[Trajectory] = []
        candidates: list[Candidate] = []
        try:
            while kept:
                found = []
                grown: Extended = yield Extend(kept, config.expand, "step", config.temperature)
                subtrees = [[child for child in children if not child.cut] for children in grown]
                if config.dedupe:
                    subtrees = [distinct(children) for children in subtrees]
                found = [child for children in subtrees for child in children]
                if not found:
                    break
                scores: Scored = yield Score(tuple(found))
                rows = iter(scores)
                ranked = [[Candidate(t, aggregate(next(rows), config.aggregate)) for t in tree] for tree in subtrees]
                candidates += [one for tree in ranked for one in tree if one.trajectory.finished]
                grows = [[one for one in tree if one.trajectory.open] for tree in ranked]
                kept = tuple(max(tree, key=rank).trajectory for tree in grows if tree)
        except BudgetExhausted:
            candidates += unscored(found)
        return conclude(candidates)
