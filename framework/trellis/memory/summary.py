"""What a journal says, for people: per database, per query, and why each query is served as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from trellis.errors import SQLError
from trellis.memory.journal import DecisionEntry, ExecutionEntry, Journal, MeasurementEntry, QueryEntry, query_key
from trellis.memory.memory import read_entry
from trellis.memory.serving import speedup_text


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """What is known of a query on one database.

    Attributes:
        query: The query.
        database: The database.
        decision: The one that holds; None where nothing was decided.
        measurements: All, in order.
        num_served: Executions under hints that gave the result.
        num_default: Executions of a served query that ran untouched.
        num_fallbacks: Executions whose hinted try failed.
        default_ms: The default's median over what was served beside, else as measured; None where it is not known.
        gain_ms: Time saved by what was served, tries that failed subtracted.
    """

    query: QueryEntry
    database: str
    decision: DecisionEntry | None
    measurements: tuple[MeasurementEntry, ...]
    num_served: int
    num_default: int
    num_fallbacks: int
    default_ms: float | None
    gain_ms: float


def status(journal: Journal) -> list[QueryStatus]:
    """Return what is known of each query on each database where something was measured, decided or served."""
    by_pair: dict[tuple[str, str], tuple[list[MeasurementEntry], list[ExecutionEntry], list[DecisionEntry]]] = {}
    for m in journal.measurements():
        by_pair.setdefault((m.database, m.key), ([], [], []))[0].append(m)
    for e in journal.executions():
        by_pair.setdefault((e.database, e.key), ([], [], []))[1].append(e)
    for d in journal.decisions():
        by_pair.setdefault((d.database, d.key), ([], [], []))[2].append(d)
    queries = {query.key: query for query in journal.queries()}
    return [
        _query_status(queries[key], database, *found) for (database, key), found in by_pair.items() if key in queries
    ]


def find_queries(journal: Journal, given: str) -> list[QueryEntry]:
    """Return the queries that a person means by a key or the beginning of one, a name, or SQL.

    Raises:
        SQLError: There is none.
    """
    queries = journal.queries()
    found = [query for query in queries if query.name == given or (len(given) >= 4 and query.key.startswith(given))]
    words = given.split()
    if not found:
        words = given.rstrip("; \n").split()
        found = [query for query in queries if query.sql.rstrip("; \n").split() == words]
    if not found and len(words) > 1:
        found = _asking_the_same(queries, given)
    if not found:
        known = ", ".join(dict.fromkeys(query.name or query.key[:12] for query in queries[:8]))
        raise SQLError(
            f"the memory knows no such query: give its SQL, its name or the beginning of its key ({known or 'it is empty'}"
            f"{', …' if len(queries) > 8 else ''})"
        )
    return found


def explained(journal: Journal, query: QueryEntry) -> list[tuple[QueryStatus, list[str]]]:
    """Return by database what is known of a query: every measurement and decision in words, oldest first, and how it fares."""
    found = []
    for one in status(journal):
        if one.query.key != query.key:
            continue
        events = [(m.at, _measured(m)) for m in one.measurements]
        events += [(d.at, _decided(d)) for d in journal.decisions(key=query.key, database=one.database)]
        lines = [text for _, text in sorted(events, key=lambda event: event[0])]
        if one.num_served or one.num_default or one.num_fallbacks:
            lines.append(
                f"served {one.num_served} times, run untouched {one.num_default} times beside, {one.num_fallbacks} "
                f"fallbacks; saved {one.gain_ms / 1000:.2f} s in all"
            )
        found.append((one, lines))
    return found


def _query_status(
    query: QueryEntry,
    database: str,
    measurements: Sequence[MeasurementEntry],
    executions: Sequence[ExecutionEntry],
    decisions: Sequence[DecisionEntry],
) -> QueryStatus:
    ours = [e for e in executions if e.purpose == "serve"]
    failed = [e for e in ours if e.hints and e.num_rows is None]
    good = [e for e in ours if e.hints and e.num_rows is not None]
    beside = [e.latency_ms for e in ours if not e.hints]
    known = [m.default_ms for m in measurements if m.default_ms is not None]
    default_ms = median(beside) if beside else known[-1] if known else None
    gain_ms = sum((default_ms or e.latency_ms) - e.latency_ms for e in good) - sum(e.latency_ms for e in failed)
    return QueryStatus(
        query,
        database,
        decisions[-1] if decisions else None,
        tuple(measurements),
        len(good),
        len(beside),
        len(failed),
        default_ms,
        gain_ms,
    )


def _asking_the_same(queries: Sequence[QueryEntry], sql: str) -> list[QueryEntry]:
    from trellis.sql.reader import parse_query

    key = query_key(parse_query(sql))
    found = [query for query in queries if query.key == key]
    # A key that was made with a database's catalog may differ from one made without: both are read alike here.
    return found or [query for query in queries if query_key(read_entry(query)) == key]


def _measured(m: MeasurementEntry) -> str:
    times = f", {m.default_ms:.1f} ms by default and {m.median_ms:.1f} ms so" if m.default_ms and m.median_ms else ""
    what = f": {speedup_text(m)}{times}" if m.speedup else ""
    reason = f"; {m.reason}" if m.reason else ""
    source = f"; proposed by {m.source}" if m.source else ""
    return f"{_when(m.at)}  measured {m.judgement}{what}{reason}{source}\n      {m.hints or 'the default'}"


def _decided(d: DecisionEntry) -> str:
    words = {"serve": "serve from now on", "withdraw": "withdrawn", "keep default": "the default is kept"}
    return f"{_when(d.at)}  {words[d.action]}: {d.reason}" + (f"\n      {d.hints}" if d.hints else "")


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
