"""What a visit to a query tries, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from trellis.contracts import Proposal
from trellis.memory.journal import DecisionEntry
from trellis.sql.plan import Plan
from trellis.sql.query import Query


@dataclass(slots=True)
class Spent:
    """What exploring has cost so far."""

    executions: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Explored:
    """What a visit to a query came to.

    Attributes:
        key: The query's key in the journal.
        default_ms: The default's time.
        best_ms: The smallest time of what may be served now; the default's where that is nothing.
        proposed: Hints that were proposed.
        tried: Those that ran.
        verified: Those that were measured in pairs.
        decision: What was decided in this visit; None where what held before holds on.
        skipped: Why the query was left alone; empty otherwise.
    """

    key: str
    default_ms: float
    best_ms: float
    proposed: int = 0
    tried: int = 0
    verified: int = 0
    decision: DecisionEntry | None = None
    skipped: str = ""


@dataclass(slots=True)
class Try:
    """A proposal in a visit, and how it went."""

    proposal: Proposal
    plan: Plan
    latency_ms: float | None = None
    limit_ms: float = 0.0
    failure: str = ""
    reason: str = ""


@dataclass(slots=True)
class Visit:
    """What is known of a query while it is explored."""

    key: str
    query: Query
    plan: Plan
    default_ms: float = 0.0
    digest: str | None = None
    tries: list[Try] = field(default_factory=list)
