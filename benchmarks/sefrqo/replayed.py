"""A database as each method sees it: it plans for real, and answers executions from the table of what plans take.

What a method may know is what it has run itself, in its own order. A time in the table is relative to the default of the same
round, and replayed as that ratio times the default's median: a machine that slows down in between changes no choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sefrqo.truth import DECIDING, Truth

from trellis import DatabaseBackend, Execution
from trellis.contracts.database import NO_HINTS, HintedStatement
from trellis.errors import DatabaseError
from trellis.memory.journal import query_key
from trellis.sql.catalog import Catalog
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan, Shape
from trellis.sql.query import Query


class Replayed(DatabaseBackend):
    """A database whose executions come from the table: one for each run of a method, which counts what it has asked for."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.inner = truth.database
        self.dialect = self.inner.dialect
        self._asked: dict[tuple[str, Shape], int] = {}

    @property
    def identity(self) -> str:
        """The real database's."""
        return self.inner.identity

    @property
    def server_version(self) -> int:
        """The real database's."""
        return self.inner.server_version

    def catalog(self) -> Catalog:
        """Return the real database's."""
        return self.inner.catalog()

    def refresh(self) -> None:
        """Forget the catalog."""
        self.inner.refresh()

    def parse(self, sql: str) -> Query:
        """Read one query."""
        return self.inner.parse(sql)

    def statement(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return what would be sent."""
        return self.inner.statement(query, hints)

    def explain(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> Plan:
        """Return the plan; measured ones are asked for anew each time."""
        if timeout_ms is not None:
            return self.inner.explain(query, hints, timeout_ms=timeout_ms)
        return self.truth.explain(query, hints)

    def explain_json(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> str:
        """Return the plan as the database wrote it."""
        return self.inner.explain_json(query, hints, timeout_ms=timeout_ms)

    def execute(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float) -> Execution:
        """Return what the execution of a plan gave: tries until it ends, once more as a warm-up, then its pairs in turn."""
        default = self.truth.default(query)
        known = self.truth.known(query, hints) if hints else None
        if known is None:
            return _bounded(default, timeout_ms)
        key = query_key(query), self.truth.explain(query, hints).shape()
        asked = self._asked.get(key, 0)
        if asked < 2:
            execution = self.truth.ran(query, hints, timeout_ms=timeout_ms)
            if execution is None:
                raise DatabaseError(f"it failed when it was measured: {hints}")
            if not execution.timed_out:
                self._asked[key] = asked + 1
            return execution
        self._asked[key] = asked + 1
        pairs = self.truth.pairs(query, hints, DECIDING)
        if not pairs:
            return Execution(timeout_ms, timed_out=True)
        default_ms, own_ms = pairs[(asked - 2) % len(pairs)]
        first = known.first or default
        latency_ms = own_ms / default_ms * default.latency_ms
        return _bounded(Execution(latency_ms, num_rows=first.num_rows, digest=first.digest), timeout_ms)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Do nothing: what is really run waits for others by itself."""
        yield

    def close(self) -> None:
        """Do nothing: the database is another's."""


def _bounded(execution: Execution, timeout_ms: float) -> Execution:
    return Execution(timeout_ms, timed_out=True) if execution.latency_ms > timeout_ms else execution
