"""The tree of everything a search sampled and how it was scored, one JSON line per problem.

Equal steps under one parent are one node, however often they were sampled. `docs/search.md` describes the format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trellis.types import Outcome, Problem, Step, Trajectory


@dataclass(slots=True)
class Node:
    """One step in the tree, or the root.

    Attributes:
        id: Its place in the list of nodes; 0 is the root. A parent stands before its children.
        parent: The node before it; None for the root.
        text: The step's text; empty for the root, whose text is the problem's.
        log_prob: log π(step | prefix), as first sampled.
        tokens: How many tokens the step has, as first sampled.
        score: The last score that a reward gave to the prefix ending here; None if it gave none.
        finished: Whether the trajectory ended here by itself.
        cut: Whether a limit ended it here.
        count: How often the step was sampled from its parent.
    """

    id: int
    parent: int | None
    text: str = ""
    log_prob: float = 0.0
    tokens: int = 0
    score: float | None = None
    finished: bool = False
    cut: bool = False
    count: int = 0


class Tree:
    """Grows as the driver answers a search's requests."""

    def __init__(self) -> None:
        self.nodes = [Node(0, None)]
        self._children: dict[tuple[int, str, bool, bool], int] = {}

    def add_samples(self, prefixes: Iterable[Trajectory], children: Iterable[Sequence[Trajectory]]) -> None:
        """Add what was sampled: each prefix's continuations, a node for each of their new steps."""
        for prefix, continuations in zip(prefixes, children, strict=True):
            for child in continuations:
                for node in self._path(child)[1 + len(prefix.steps) :]:
                    node.count += 1

    def add_scores(self, trajectories: Iterable[Trajectory], scores: Iterable[Sequence[float]]) -> None:
        """Set the score of every step of the trajectories."""
        for trajectory, row in zip(trajectories, scores, strict=True):
            for node, score in zip(self._path(trajectory)[1:], row, strict=True):
                node.score = score

    def find(self, trajectory: Trajectory) -> int:
        """Return the id of the node where a trajectory ends."""
        return self._path(trajectory)[-1].id

    def _path(self, trajectory: Trajectory) -> list[Node]:
        """Return the nodes from the root to the trajectory's last step, adding those that are missing."""
        path = [self.nodes[0]]
        for step in trajectory.steps[:-1]:
            path.append(self._child(path[-1], step, finished=False, cut=False))
        for step in trajectory.steps[-1:]:
            path.append(self._child(path[-1], step, finished=trajectory.finished, cut=trajectory.cut))
        return path

    def _child(self, parent: Node, step: Step, *, finished: bool, cut: bool) -> Node:
        # The same text may once end a trajectory and once not: two nodes, for one of them has no children.
        key = (parent.id, step.text, finished, cut)
        if key not in self._children:
            self._children[key] = len(self.nodes)
            self.nodes.append(
                Node(
                    len(self.nodes),
                    parent.id,
                    step.text,
                    log_prob=step.log_prob,
                    tokens=step.num_tokens,
                    finished=finished,
                    cut=cut,
                )
            )
        return self.nodes[self._children[key]]


class TreeWriter:
    """Appends trees to a file of JSON lines.

    Attributes:
        path: The file; made when the first tree is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, tree: Tree, problem: Problem, *, search: str, best: Trajectory | None, outcome: Outcome) -> None:
        """Append one line: a problem, its tree, and how the search that is named ended."""
        self.append(_line(tree, problem, search=search, best=best, outcome=outcome))

    def append(self, line: str) -> None:
        """Append a line that is one already."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class TreeLines:
    """Keeps the newest tree's line, for those who send it elsewhere.

    Attributes:
        newest: As `TreeWriter` would have written it; None at first.
    """

    def __init__(self) -> None:
        self.newest: str | None = None

    def write(self, tree: Tree, problem: Problem, *, search: str, best: Trajectory | None, outcome: Outcome) -> None:
        """Take a tree."""
        self.newest = _line(tree, problem, search=search, best=best, outcome=outcome)


def _line(tree: Tree, problem: Problem, *, search: str, best: Trajectory | None, outcome: Outcome) -> str:
    record = {
        "problem": problem.id,
        "text": problem.text,
        "search": search,
        "best": None if best is None else tree.find(best),
        "correct": outcome.correct,
        "nodes": [asdict(node) for node in tree.nodes],
    }
    return json.dumps(record, ensure_ascii=False)
