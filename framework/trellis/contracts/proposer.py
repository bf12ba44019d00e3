"""Proposer: writes plan hints for a query that seem worth measuring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trellis.sql.catalog import Catalog
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan
from trellis.types import Problem

if TYPE_CHECKING:
    from trellis.sql.query import Query


@dataclass(frozen=True, slots=True)
class Tried:
    """Hints that were measured on a query.

    Attributes:
        hints: The hints; none are the default plan itself.
        speedup: Default's time over their own: above 1 they are faster. 0 where they failed or gave another result; where
            they were stopped, what they could have reached at most.
        judgement: As `trellis.measuring` says it.
        median_ms: Their own median time; None where they never finished.
        source: Who proposed them, as their `Proposal` said; empty where nobody knows.
    """

    hints: PlanHints
    speedup: float
    judgement: str
    median_ms: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another query, and the best that was measured on it.

    Attributes:
        query: The query.
        similarity: Cosine of the embeddings, in [-1, 1].
        best: What was fastest on it; its speed-up is 1 or less where nothing beat the default.
        same_template: Whether it has the same fingerprint: it differs in literals and names alone.
    """

    query: Query
    similarity: float
    best: Tried
    same_template: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a proposer may draw on; nothing in it has executed the query.

    Attributes:
        problem: The query as a problem of its workload.
        query: The query.
        catalog: What the database holds.
        plan: The default plan, with the planner's estimates.
        tried: What was measured on this query before, in order.
        neighbours: Returns up to k similar queries, most similar first, this query not among them; empty without a memory.
        plan_of: Asks the planner for the plan under hints, without running it; None where it refuses them.
    """

    problem: Problem
    query: Query
    catalog: Catalog
    plan: Plan
    tried: Sequence[Tried] = ()
    neighbours: Callable[[int], Sequence[Neighbour]] = field(default=lambda _: ())
    plan_of: Callable[[PlanHints], Plan | None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Hints that seem worth measuring.

    Attributes:
        hints: They fit the query (`trellis.sql.check_hints`).
        source: Who says so, and why, in a few words: "neighbour shop-17, 2.3x there".
        score: How good the proposer thinks they are, higher is better, comparable within one proposer's answer alone; None
            where it does not say.
    """

    hints: PlanHints
    source: str
    score: float | None = None


class Proposer(ABC):
    """Writes hints. Never runs a query.

    Capabilities: "learns" (`learn` does something).
    """

    @abstractmethod
    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n proposals, the most promising first, no two with equal hints, none in `situation.tried`.

        The same situation and seed give the same proposals. Fewer than n, or none, where it has no more to say.
        """

    def learn(
        self, tried: Mapping[str, Sequence[Tried]], queries: Mapping[str, Query], *, seed: int = 0
    ) -> Mapping[str, float]:
        """Learn from everything measured so far, and return metrics; does nothing unless the proposer learns.

        Args:
            tried: By query key, what was measured.
            queries: By query key, the query.
            seed: Fixes what is drawn while learning.
        """
        return {}
