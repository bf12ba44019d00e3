"""What templates are told of a situation: plain records of texts and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trellis import DatabaseBackend, Neighbour, Situation, Tried
from trellis.errors import CapabilityError, ConnectionLostError, SQLError
from trellis.sql.catalog import Catalog
from trellis.sql.estimates import ON_THEIR_OWN, Estimate, estimates
from trellis.sql.hints import PlanHints
from trellis.sql.query import Query

_SEARCHED = 8
"""Neighbours looked at for each reference wanted: some have no hints that beat their default plan."""

_PART = re.compile(
    r"""(?P<kept>'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\2\$)|(?P<comment>--[^\n]*|/\*.*?\*/)""", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class RelationFacts:
    """A relation.

    Attributes:
        alias: Its name in the prompt.
        table: The table it is of, or "cte", "subquery", …
        table_rows: Rows of the table; None where not known.
        rows: Rows that the planner expects after its filters; None where not known.
        filters: The conditions on it alone.
    """

    alias: str
    table: str
    table_rows: float | None
    rows: float | None
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TriedFacts:
    """Hints that were measured.

    Attributes:
        hints: As text, one on each line.
        speedup: The default's time over theirs; 0 where they failed.
        gain: By how many percent of the default's time they are faster, below 0 where slower; None where they failed. Of hints
            that were stopped, what it was at most.
        judgement: "faster", "slower", "undecided", "timed out", "failed", …
    """

    hints: str
    speedup: float
    gain: float | None
    judgement: str


@dataclass(frozen=True, slots=True)
class ReferenceFacts:
    """A similar query and its best hints.

    Attributes:
        relations: Its relations.
        sql: Its text.
        best: What was fastest on it.
        similarity: Cosine of the embeddings.
    """

    relations: tuple[RelationFacts, ...]
    sql: str
    best: TriedFacts
    similarity: float


def needed(situation: Situation | None, component: str) -> Situation:
    """Return the situation.

    Raises:
        CapabilityError: There is none.
    """
    if situation is None:
        raise CapabilityError(
            component,
            capability="prompt for a problem alone",
            mend="it writes of SQL queries: give `build` their `Situation`, as proposers get it.",
        )
    return situation


def expected(situation: Situation) -> dict[str, Estimate]:
    """Return the planner's expectations of the query's relations; asks for one plan, runs nothing."""
    plan = situation.plan_of(ON_THEIR_OWN) or situation.plan
    return estimates(plan, situation.query, situation.catalog)


def relation_facts(query: Query, known: Mapping[str, Estimate]) -> tuple[RelationFacts, ...]:
    """Return the relations of all blocks, in order."""
    nothing = Estimate(None, None)
    return tuple(
        RelationFacts(
            relation.alias,
            relation.name if relation.kind == "table" and relation.name else relation.kind,
            known.get(relation.alias, nothing).table_rows,
            known.get(relation.alias, nothing).rows,
            block.filters.get(relation.alias, ()),
        )
        for block in query.blocks
        for relation in block.relations
    )


def limited(hints: PlanHints, *, methods: bool, scans: bool) -> PlanHints:
    """Return hints without those that are not asked for."""
    return PlanHints(hints.scans if scans else (), hints.joins if methods else (), hints.leading, hints.switches)


def tried_facts(tried: Tried, *, methods: bool, scans: bool) -> TriedFacts:
    """Return what was measured, with the gain as SEFRQO counts it: (default - own) / default, in percent."""
    gain = 100 * (1 - 1 / tried.speedup) if tried.speedup > 0 else None
    hints = limited(tried.hints, methods=methods, scans=scans).render("\n")
    return TriedFacts(hints, tried.speedup, gain, tried.judgement)


def best_so_far(tried: Sequence[Tried]) -> Tried | None:
    """Return the fastest of the hints that gave the query's result."""
    ran = [one for one in tried if one.hints and one.speedup > 0 and one.judgement != "timed out"]
    return max(ran, key=lambda one: one.speedup, default=None)


def history(tried: Sequence[Tried], k: int, *, without: Tried | None) -> list[Tried]:
    """Return up to k hints, the newest first, no hints twice."""
    found: dict[PlanHints, Tried] = {}
    for one in reversed(tried):
        if one.hints and (without is None or one.hints != without.hints):
            found.setdefault(one.hints, one)
    return list(found.values())[:k]


def references(
    neighbours: Sequence[Neighbour], k: int, *, database: DatabaseBackend | None, methods: bool, scans: bool
) -> list[ReferenceFacts]:
    """Return up to k neighbours whose hints beat their default plan, the most similar first.

    With a database their statistics are the planner's of now; without one, or where it can no longer plan them, none.

    Raises:
        ConnectionLostError: The database went away.
    """
    found: list[ReferenceFacts] = []
    for one in neighbours:
        if len(found) < k and one.best.speedup > 1 and limited(one.best.hints, methods=methods, scans=scans):
            query, known = _planned(one.query, database)
            best = tried_facts(one.best, methods=methods, scans=scans)
            found.append(ReferenceFacts(relation_facts(query, known), shown(query.sql), best, one.similarity))
    return found


def near(situation: Situation, k: int) -> Sequence[Neighbour]:
    """Return enough neighbours to choose k references from."""
    return situation.neighbours(_SEARCHED * k) if k else ()


def shown(sql: str) -> str:
    """Return a query's text without comments: they are for people, and the likeliest place for orders to a model."""
    text = _PART.sub(lambda part: part["kept"] or " ", sql)
    return "\n".join(line.rstrip() for line in text.strip().splitlines() if line.strip())


def _planned(query: Query, database: DatabaseBackend | None) -> tuple[Query, Mapping[str, Estimate]]:
    if database is None:
        return query, {}
    try:
        read = database.parse(query.sql)
        catalog: Catalog = database.catalog()
        return read, estimates(database.explain(read, ON_THEIR_OWN), read, catalog)
    except ConnectionLostError:
        raise
    except SQLError:
        return query, {}
