"""Path: find a way from a start to a goal through a directed graph without cycles.

    a>c a>f b>e c>b c>d f>d | a -> e
    a>c
    c>b
    b>e

Every line takes one edge from where the line before has led; the line that arrives at the goal is the last. Most wrong
solutions are dead ends: every line is an edge, but from some node on the goal is out of reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from random import Random
from string import ascii_lowercase
from typing import NamedTuple, cast

from trellis import Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import PathConfig
from trellis_reasoning.moves import Fault, MovesTask

_LINE = re.compile("([a-z])>([a-z])")
_ENDS = re.compile(r"\s*([a-z])\s*(?:->|→|\bto\b)\s*([a-z])\s*")
_EXAMPLE = "a>b a>c b>d | a -> d"


class Graph(NamedTuple):
    """Where to go, and the edges there are.

    Attributes:
        edges: Pairs of nodes, from and to, in the order in which the problem lists them.
        start: Where a path begins.
        goal: Where it must end.
    """

    edges: tuple[tuple[str, str], ...]
    start: str
    goal: str

    def successors(self, node: str) -> list[str]:
        """Return where the edges of a node lead, in their order."""
        return [to for from_, to in self.edges if from_ == node]


class Path(MovesTask[str]):
    """Graphs with paths through them, an exact verifier and an exact step oracle; the state is the current node."""

    Config = PathConfig

    def __init__(self, config: PathConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw an order of the nodes, edges that run forward in it, and two nodes far enough from each other.

        Dead ends are the last letters, every other node has as many edges as any: in the sorted list the edges of a
        node always stand in the same place, where a small model learns to find them.
        """
        c = self.config
        inner, ends = ascii_lowercase[: c.nodes], ascii_lowercase[c.nodes : c.nodes + c.dead_ends]
        order = random.sample(inner, c.nodes) + random.sample(ends, c.dead_ends)
        after = {node: order[place + 1 : place + 1 + c.span] for place, node in enumerate(order[: c.nodes])}
        edges = tuple((node, to) for node in inner for to in sorted(random.sample(after[node], c.branches)))
        pairs = [(start, goal) for start in inner for goal in _far(edges, start, c.min_length)]
        start, goal = random.choice(pairs) if pairs else (order[0], order[-1])
        problem = _problem(Graph(edges, start, goal))
        return problem.id, problem

    def accepts(self, problem: Problem) -> bool:
        """Say whether the goal is far enough, and can be missed often enough."""
        graph = _given(problem)
        far = graph.goal in _far(graph.edges, graph.start, self.config.min_length)
        return far and chance(graph) <= self.config.max_chance

    def initial(self, problem: Problem) -> str:
        """Return the start."""
        return _given(problem).start

    def moves(self, problem: Problem, state: str) -> dict[str, str]:
        """Return the edges of the current node, and where they lead; none where it is the goal."""
        return {} if self.solved(problem, state) else {f"{state}>{to}": to for to in _given(problem).successors(state)}

    def after(self, problem: Problem, state: str, line: str) -> str:
        """Return the node where an edge leads."""
        if self.solved(problem, state):
            raise Fault("nothing may follow, the problem is solved")
        if not (match := _LINE.fullmatch(line)):
            raise Fault(f"{line[:60]!r} is not of the form 'a>b'")
        if match.groups() not in _given(problem).edges:
            raise Fault(f"there is no edge {line}")
        if match[1] != state:
            raise Fault(f"{line} does not begin at {state}")
        return match[2]

    def solved(self, problem: Problem, state: str) -> bool:
        """Say whether the goal is reached."""
        return state == _given(problem).goal

    def solvable(self, problem: Problem, state: str) -> bool:
        """Say whether the goal can be reached from a node."""
        return state in _sources(_given(problem))

    def lacking(self, problem: Problem, state: str) -> str:
        """Say where a path ends, and that the goal cannot be reached if that is so."""
        graph = _given(problem)
        reason = f"it ends at {state}, the goal is {graph.goal}"
        return reason if self.solvable(problem, graph.start) else reason + f" (no path leads there from {graph.start})"

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the path as one word, e.g. `a>c>b>e`; None where the lines do not join into one."""
        edges = [match.groups() if (match := _LINE.fullmatch(line)) else None for line in self._lines(trajectory)]
        if None in edges or any(one and other and one[1] != other[0] for one, other in pairwise(edges)):
            return None
        nodes = [edges[0][0], *(edge[1] for edge in edges if edge)] if edges[0] else []
        return ">".join(nodes)

    def _lines(self, trajectory: Trajectory) -> list[str]:
        return trajectory.text.split(self.separator)

    def parse(self, text: str) -> Problem:
        """Read a problem like `a>b a>c b>d | a -> d`: commas, extra spaces, and `to` for the arrow are fine.

        Nodes are letters from a to z. Size and difficulty may be others than the config's, and a goal out of reach is
        taken too.

        Raises:
            ProblemSyntaxError: The text is no such problem, or its graph has a cycle.
        """
        sides = text.split("|")
        if len(sides) != 2:
            raise ProblemSyntaxError(text, reason="one '|' must stand after the edges", expected=_EXAMPLE)
        edges = []
        for word in re.split(r"[\s,]+", re.sub(r"\s*>\s*", ">", sides[0]).strip(" \t\r\n,")):
            if not (match := _LINE.fullmatch(word)):
                reason = f"{word[:20]!r} is no edge between two letters, like 'a>b'"
                raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
            edges.append((match[1], match[2]))
        if twice := [f"{a}>{b}" for a, b in edges if edges.count((a, b)) > 1]:
            raise ProblemSyntaxError(text, reason=f"the edge {twice[0]} is there twice", expected=_EXAMPLE)
        if not (ends := _ENDS.fullmatch(sides[1])):
            reason = f"{sides[1].strip()[:20]!r} is no start and goal, like 'a -> d'"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        graph = Graph(tuple(edges), ends[1], ends[2])
        if graph.start == graph.goal:
            raise ProblemSyntaxError(text, reason="start and goal are the same", expected=_EXAMPLE)
        if on_cycle := _on_cycles(edges):
            raise ProblemSyntaxError(text, reason=f"{on_cycle[0]} is on a cycle or after one", expected=_EXAMPLE)
        return _problem(graph)


@lru_cache(maxsize=1 << 14)
def chance(graph: Graph) -> Fraction:
    """Return how probable it is that a walk that takes an edge at random, each time, comes by the goal."""
    known = {graph.goal: Fraction(1)}

    def at(node: str) -> Fraction:
        if node not in known:
            after = [at(to) for to in graph.successors(node)]
            known[node] = Fraction(sum(after), len(after)) if after else Fraction(0)
        return known[node]

    return at(graph.start)


@lru_cache(maxsize=1 << 14)
def _sources(graph: Graph) -> frozenset[str]:
    """Return the nodes from which the goal can be reached, itself among them."""
    found, new = {graph.goal}, {graph.goal}
    while new:
        new = {from_ for from_, to in graph.edges if to in new} - found
        found |= new
    return frozenset(found)


def _far(edges: Iterable[tuple[str, str]], start: str, length: int) -> list[str]:
    """Return the nodes that can be reached, but not over fewer than `length` edges."""
    after: dict[str, list[str]] = {}
    for from_, to in edges:
        after.setdefault(from_, []).append(to)
    distance, new = {start: 0}, [start]
    for node in new:
        fresh = [to for to in after.get(node, ()) if to not in distance]
        distance |= dict.fromkeys(fresh, distance[node] + 1)
        new += fresh
    return sorted(node for node, steps in distance.items() if steps >= length)


def _on_cycles(edges: Iterable[tuple[str, str]]) -> list[str]:
    """Return the nodes that remain when, again and again, those without an edge to them are taken away."""
    left = list(edges)
    while inner := {to for _, to in left}:
        if len(kept := [(from_, to) for from_, to in left if from_ in inner]) == len(left):
            return sorted(inner)
        left = kept
    return []


def _problem(graph: Graph) -> Problem:
    edges = [f"{from_}>{to}" for from_, to in graph.edges]
    return Problem(
        id=f"{'-'.join(edge.replace('>', '') for edge in edges)}-from-{graph.start}-to-{graph.goal}",
        text=f"{' '.join(edges)} | {graph.start} -> {graph.goal}",
        data={"edges": tuple(edges), "start": graph.start, "goal": graph.goal},
    )


def _given(problem: Problem) -> Graph:
    edges = cast("Sequence[str]", problem.data["edges"])
    return _graph(tuple(edges), cast("str", problem.data["start"]), cast("str", problem.data["goal"]))


@lru_cache(maxsize=1 << 14)
def _graph(edges: tuple[str, ...], start: str, goal: str) -> Graph:
    return Graph(tuple((edge[0], edge[2]) for edge in edges), start, goal)
