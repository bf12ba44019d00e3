"""Monte-Carlo tree search over steps, with PUCT and a process reward for the value.

A node is a prefix, its value what the reward says of it; there are no random playouts. In each round `batch` leaves are
selected by PUCT (see `Tree.puct`), `children` continuations of each sampled, all new prefixes scored, and the values
backed up (see `Tree.back_up`). The root is expanded first, more widely.

Sources: PUCT is AlphaGo Zero's (Silver et al. 2017, https://doi.org/10.1038/nature24270), a process reward for the value
is OpenR's (https://github.com/openreasoner/openr). Where this differs from them:

- c_puct is constant, where OpenR's grows with log N from 1.25.
- The prior is how often a step was sampled, not the policy's probability of it: steps are samples of the policy already,
  and log π of a step falls with its length.
- Values are standardised per depth, so that one c_puct fits every reward, and a reward that drifts with depth (a sum of
  log-probabilities) neither drives the search down nor holds it up.
- All children are scored when they are sampled, so a node is never without a value. The default back-up is the best
  child's value: a dead end among the children is no reason to leave a good one.
- Leaves of a round are selected one after another. A selection counts as a visit at once (as in WU-UCT, Liu et al. 2020,
  https://arxiv.org/abs/1810.11755), and a leaf is selected once a round. That is the virtual loss: no value is
  subtracted, since a reward has no known lowest one.
- Finished trajectories are leaves that are not expanded. When nothing is left to expand, the search ends.
"""

from __future__ import annotations

import math

from trellis.contracts.aggregation import aggregate
from trellis.contracts.candidates import conclude, unscored
from trellis.contracts.search import Extend, Extended, Score, Scored, SearchAlgorithm, SearchProcess
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Trajectory
from trellis_mcts.config import MctsConfig
from trellis_mcts.tree import Node, Tree


class Mcts(SearchAlgorithm):
    """Grows a tree of steps; answers with the best finished trajectory in it.

    Equal texts are one node, scored once, with a count. A candidate's score is its aggregated reward; with `choose:
    value` its value, with `choose: visits` the logarithm of the share of visits that its path got. Among equal scores
    the most probable is best, then the first found. What a budget leaves unscored stands at -inf.
    """

    Config = MctsConfig
    needs_reward = True

    def __init__(self, config: MctsConfig) -> None:
        self.config = config
        self.aggregate = config.aggregate

    def search(self, root: Trajectory) -> SearchProcess:
        """Alternate between expanding the selected leaves and scoring what came of it."""
        config = self.config
        tree = Tree(root, config)
        finished: list[Node] = []
        new: list[Node] = []
        num_left = config.simulations
        leaves = [leaf for leaf in [tree.select()] if leaf]
        try:
            while leaves:
                # One request has one n for all its prefixes: a leaf that wants more stands in it more than once.
                num_each = math.gcd(*(leaf.num_wanted for leaf in leaves))
                asked = [leaf for leaf in leaves for _ in range(leaf.num_wanted // num_each)]
                grown: Extended = yield Extend(
                    tuple(leaf.trajectory for leaf in asked), num_each, "step", config.temperature
                )
                chains = [
                    chain
                    for leaf, children in zip(asked, grown, strict=True)
                    for child in children
                    if (chain := tree.add(leaf, child))
                ]
                new = [node for chain in chains for node in chain]
                if chains:
                    scores: Scored = yield Score(tuple(chain[-1].trajectory for chain in chains))
                    for chain, row in zip(chains, scores, strict=True):
                        for node in chain:
                            node.score = aggregate(row[: node.depth], config.aggregate)
                    finished += [node for node in new if node.trajectory.finished]
                    new = []
                tree.expanded(leaves)
                tree.back_up()
                leaves = [leaf for _ in range(min(config.batch, num_left)) if (leaf := tree.select())]
                num_left -= len(leaves)
        except BudgetExhausted:
            pass
        candidates = [Candidate(node.trajectory, self._score(tree, node)) for node in finished]
        return conclude(candidates + unscored(node.trajectory for node in new))

    def _score(self, tree: Tree, node: Node) -> float:
        match self.config.choose:
            case "value":
                return node.value
            case "visits":
                return tree.visit_share(node)
        return node.score
