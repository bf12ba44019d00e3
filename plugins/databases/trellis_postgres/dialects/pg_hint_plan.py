"""Hints in a comment before the query, for the extension pg_hint_plan (https://github.com/ossc-db/pg_hint_plan).

The comment is written from the tree, so it holds names and keywords only. Of several `Leading` the extension obeys one, so the
one with most tables is given. An index that a table does not have would silently become a sequential scan, which is why hints
are checked against the catalog before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trellis.contracts.database import HintedStatement
from trellis.errors import HintError
from trellis.sql.hints import PlanHints, tree_aliases
from trellis.sql.query import Query
from trellis_postgres.dialects.base import HintDialect, free_search

REPORTING = {"pg_hint_plan.debug_print": "on", "pg_hint_plan.message_level": "log", "client_min_messages": "log"}
"""The settings under which the extension tells a client what became of each hint."""

_STATES = {"used hint": "used", "not used hint": "not used", "duplication hint": "duplicate", "error hint": "error"}


class PgHintPlan(HintDialect):
    """Writes hints as a comment."""

    name = "pg_hint_plan"
    capabilities = frozenset(
        {"join-order", "join-side", "join-method", "join-method-per-join", "scan-method", "buffers"}
    )
    library = "pg_hint_plan"

    def hinted(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return the query behind a comment."""
        leading = sorted(hints.leading, key=lambda hint: len(tree_aliases(hint.tree)), reverse=True)
        untouched = {
            str(hint): f"pg_hint_plan obeys one Leading in a query, and {leading[0]} joins as many tables or more"
            for hint in leading[1:]
        }
        asked = PlanHints(hints.scans, hints.joins, tuple(leading[:1]), hints.switches)
        for hint in asked:
            # No quoting protects what stands in a comment from these.
            if "*/" in str(hint) or "/*" in str(hint):
                raise HintError(
                    str(hint), reason="a name in it ends or begins a comment, which cannot be written in one"
                )
        settings = free_search(query) if hints.leading or hints.joins else {}
        return HintedStatement(f"/*+ {asked.render()} */ {query.sql}", settings, untouched)


@dataclass(frozen=True, slots=True)
class HintReport:
    """What the extension says became of a hint.

    Attributes:
        hint: Its text, as the extension writes it.
        state: "used", "not used", "duplicate" or "error".
    """

    hint: str
    state: str


def read_reports(notices: Iterable[str]) -> list[HintReport]:
    """Read the extension's notices; see `REPORTING`. "Used" means understood, whether or not the plan could follow."""
    return [report for notice in notices if notice.startswith("pg_hint_plan") for report in _reports(notice)]


def _reports(notice: str) -> Iterator[HintReport]:
    state, hint = None, ""
    for line in notice.splitlines():
        heading = _STATES.get(line.rstrip(":"))
        if heading is not None and not hint:
            state = heading
        elif state is not None and line:
            # A hint stands on a line of its own, unless a name in it holds a line break.
            hint += line
            if hint.count('"') % 2 == 0:
                yield HintReport(hint, state)
                hint = ""
