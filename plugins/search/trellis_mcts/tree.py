"""The tree of one Monte-Carlo tree search: what was sampled, how it was scored and how often it was visited."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from trellis.types import Trajectory
from trellis_mcts.config import MctsConfig


@dataclass(slots=True, eq=False)
class Node:
    """A prefix.

    Attributes:
        trajectory: The steps from the root to here.
        parent: The node before it; None for the root.
        children: By the text of their last step, and whether they ended with it.
        count: How often it was sampled from its parent.
        num_sampled: How many continuations of it were sampled, those that were cut included.
        num_visits: N, how many expansions were asked for here and below.
        score: The aggregated reward of the prefix; the root has none.
        value: Q, as of the last `Tree.back_up`.
        num_wanted: How many continuations are being sampled of it; 0 but between selection and expansion.
        live: Whether something here or below can be expanded now.
    """

    trajectory: Trajectory
    parent: Node | None = None
    children: dict[tuple[str, bool], Node] = field(default_factory=dict)
    count: int = 0
    num_sampled: int = 0
    num_visits: int = 0
    score: float = 0.0
    value: float = 0.0
    num_wanted: int = 0
    live: bool = True

    @property
    def depth(self) -> int:
        """The number of steps."""
        return len(self.trajectory.steps)

    def path(self) -> Iterator[Node]:
        """Yield it and the nodes above it, up to the root."""
        node: Node | None = self
        while node:
            yield node
            node = node.parent


class Tree:
    """Selects leaves, takes what was sampled of them, and backs values up.

    Attributes:
        root: The empty trajectory's node.
        nodes: All nodes, a parent before its children.
    """

    def __init__(self, root: Trajectory, config: MctsConfig) -> None:
        self.config = config
        self.root = Node(root)
        self.nodes = [self.root]

    def select(self) -> Node | None:
        """Go down from the root, by the best `puct` each time, to a node that can be expanded; None if there is none.

        The visit counts from now on, before its value is there, and the node is not selected again until it is
        expanded: so the next selection of the same round goes elsewhere.
        """
        if not self.root.live:
            return None
        node = self.root
        while not self._expandable(node):
            node = max((child for child in node.children.values() if child.live), key=self.puct)
        node.num_wanted = self.num_missing(node)
        for above in node.path():
            above.num_visits += 1
            above.live = self._can_go_on(above)
        return node

    def num_missing(self, node: Node) -> int:
        """Return how many continuations of a node it takes to expand it; below 1 if it is not to be expanded.

        Progressive widening (Coulom 2007; Couëtoux et al. 2011, https://doi.org/10.1007/978-3-642-25566-3_32), on top of
        the k children of the first expansion:

            k + floor(C N^exponent)     continuations in all, at N visits so far
        """
        if node.trajectory.finished:
            return 0
        config = self.config
        k = config.children if node.parent else config.root_children
        return k + int(config.widening * node.num_visits**config.widening_exponent) - node.num_sampled

    def puct(self, child: Node) -> float:
        """Return what selection maximises.

            Q(s, a) + c_puct P(s, a) √N(s) / (1 + N(s, a))

        PUCT as in AlphaGo Zero (Silver et al. 2017, https://doi.org/10.1038/nature24270).
        """
        assert child.parent
        siblings = child.parent.children
        if self.config.prior == "uniform":
            prior = 1 / len(siblings)
        else:
            prior = child.count / sum(sibling.count for sibling in siblings.values())
        explore = prior * math.sqrt(child.parent.num_visits) / (1 + child.num_visits)
        return child.value + self.config.c_puct * explore

    def add(self, node: Node, sampled: Trajectory) -> list[Node]:
        """Take one continuation of a node, cut into steps; return the nodes that are new, those of a cut one none."""
        new: list[Node] = []
        node.num_sampled += 1
        steps = sampled.steps
        for depth in range(node.depth + 1, len(steps) + 1) if not sampled.cut else ():
            last = depth == len(steps)
            key = (steps[depth - 1].text, last and sampled.finished)
            if key not in node.children:
                prefix = Trajectory(sampled.problem, sampled.prompt, steps[:depth])
                node.children[key] = child = Node(sampled if last else prefix, node)
                new.append(child)
                self.nodes.append(child)
            node = node.children[key]
            node.count += 1
            if not last:
                node.num_sampled += 1
        for above in node.path():
            above.live = self._can_go_on(above)
        return new

    def expanded(self, leaves: list[Node]) -> None:
        """Say that the continuations of the selected leaves have all been added."""
        for leaf in leaves:
            leaf.num_wanted = 0
            for above in leaf.path():
                above.live = self._can_go_on(above)

    def _expandable(self, node: Node) -> bool:
        return not node.num_wanted and self.num_missing(node) >= 1

    def _can_go_on(self, node: Node) -> bool:
        return self._expandable(node) or any(child.live for child in node.children.values())

    def back_up(self) -> None:
        """Set Q of every node from the scores of all.

        With z a node's own value, that is its score, or (score - mean) / std over the nodes of its depth, the
        standard deviation that of a population:

            max:   Q(n) = max over its children c of Q(c);  z(n) where there are none
            mean:  Q(n) = the mean of z over n and all nodes below it
        """
        below: dict[Node, list[float]] = defaultdict(list)
        for node, z in reversed(list(zip(self.nodes[1:], self._own_values(), strict=True))):
            known = below.pop(node, [])
            if self.config.backup == "max":
                node.value = max(known, default=z)
                up = [node.value]
            else:
                up = [z, *known]
                node.value = math.fsum(up) / len(up)
            assert node.parent
            below[node.parent] += up

    def _own_values(self) -> list[float]:
        nodes = self.nodes[1:]
        if not self.config.standardise:
            return [node.score for node in nodes]
        by_depth: dict[int, list[float]] = defaultdict(list)
        for node in nodes:
            by_depth[node.depth].append(node.score)
        moments = {depth: _moments(scores) for depth, scores in by_depth.items()}
        return [(node.score - moments[node.depth][0]) / moments[node.depth][1] for node in nodes]

    def visit_share(self, node: Node) -> float:
        """Return log Π (N + count) / Σ_siblings (N + count) over the path: how often the search went to a node."""
        total = 0.0
        for one in node.path():
            if one.parent:
                weights = [sibling.num_visits + sibling.count for sibling in one.parent.children.values()]
                total += math.log((one.num_visits + one.count) / sum(weights))
        return total


def _moments(scores: list[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation; 1 instead of a deviation that is nothing but rounding."""
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return mean, deviation if deviation > 1e-12 * max(1.0, abs(mean)) else 1.0
