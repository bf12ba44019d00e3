"""Hints by rewriting the query, for any PostgreSQL without an extension.

The join order is written into FROM as an explicit tree of joins, which the planner keeps under `join_collapse_limit = 1`
(https://www.postgresql.org/docs/current/explicit-joins.html); it still decides which input is the outer one. Methods are settings
for the whole query (`enable_hashjoin` …): a hint for each join is exact only where all joins of the query are to have the same
method, and likewise for scans. Every other hint is said to be untouched.
"""

from __future__ import annotations

from trellis.contracts.database import HintedStatement
from trellis.sql.hints import JoinMethod, PlanHints, ScanMethod
from trellis.sql.query import Query
from trellis.sql.rewrite import rewrite
from trellis_postgres.dialects.base import HintDialect, switch_settings

_JOIN_SWITCH = {
    JoinMethod.NEST_LOOP: "enable_nestloop",
    JoinMethod.HASH: "enable_hashjoin",
    JoinMethod.MERGE: "enable_mergejoin",
}
_SCAN_SWITCH = {
    ScanMethod.SEQ: "enable_seqscan",
    ScanMethod.INDEX: "enable_indexscan",
    ScanMethod.INDEX_ONLY: "enable_indexonlyscan",
    ScanMethod.BITMAP: "enable_bitmapscan",
}


class Rewrite(HintDialect):
    """Writes hints as joins and settings."""

    name = "rewrite"
    capabilities = frozenset({"join-order", "join-method", "buffers"})

    def hinted(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return the rewritten query and its settings."""
        untouched: dict[str, str] = {}
        settings: dict[str, str] = {}
        sql = query.sql
        if hints.leading:
            sql, unchanged = rewrite(query, hints)
            untouched |= unchanged
            settings |= {"join_collapse_limit": "1", "geqo": "off"}
        settings |= _joins(query, hints, untouched)
        settings |= _scans(query, hints, untouched)
        settings |= switch_settings(hints.switches)
        return HintedStatement(sql, settings, untouched)


def _joins(query: Query, hints: PlanHints, untouched: dict[str, str]) -> dict[str, str]:
    """Return settings that say what the join hints say, where settings can."""
    if not hints.joins:
        return {}
    methods = {hint.method for hint in hints.joins}
    num_joins = len(query.relations) - 1
    switched = {switch.name for switch in hints.switches}
    if len(query.blocks) == 1 and len(methods) == 1 and len(hints.joins) == num_joins:
        (method,) = methods
        if not switched.intersection(_JOIN_SWITCH.values()):
            return {name: "on" if each is method else "off" for each, name in _JOIN_SWITCH.items()}
        reason = "Set(…) decides on join methods in these hints, and without an extension both are the same settings"
    else:
        reason = (
            "without an extension PostgreSQL takes a join method for the whole query only: give the same for all of "
            f"its {num_joins} joins, or Set(enable_… off)"
        )
    untouched |= {str(hint): reason for hint in hints.joins}
    return {}


def _scans(query: Query, hints: PlanHints, untouched: dict[str, str]) -> dict[str, str]:
    """Return settings that say what the scan hints say, where settings can."""
    if not hints.scans:
        return {}
    methods = {hint.method for hint in hints.scans}
    named = any(hint.index is not None for hint in hints.scans)
    switched = {switch.name for switch in hints.switches}
    if len(query.blocks) == 1 and len(methods) == 1 and len(hints.scans) == len(query.relations) and not named:
        (method,) = methods
        if not switched.intersection(_SCAN_SWITCH.values()):
            kept = {_SCAN_SWITCH[method]}
            if method is ScanMethod.INDEX_ONLY:
                # PostgreSQL counts an index-only scan as an index scan too, and takes it where it can.
                kept.add(_SCAN_SWITCH[ScanMethod.INDEX])
            return {name: "on" if name in kept else "off" for name in _SCAN_SWITCH.values()}
        reason = "Set(…) decides on scan methods in these hints, and without an extension both are the same settings"
    else:
        reason = (
            "without an extension PostgreSQL takes a scan method for the whole query only, and no index: give the same "
            "for all of its relations, or Set(enable_… off)"
        )
    untouched |= {str(hint): reason for hint in hints.scans}
    return {}
