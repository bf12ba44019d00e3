"""DatabaseBackend: explains and executes one query under plan hints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from trellis.component import load
from trellis.errors import CapabilityError, ConnectionLostError, DatabaseError, HintError
from trellis.sql.catalog import Catalog
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan

if TYPE_CHECKING:
    from trellis.sql.query import Query

NO_HINTS = PlanHints()


@dataclass(frozen=True, slots=True)
class HintedStatement:
    """How a backend asks for a plan: the text it sends and the settings that go with it.

    Attributes:
        sql: One statement; its result is the query's, whatever the hints.
        settings: Set for this statement alone.
        untouched: What of the hints could not be asked for, and why: the hint's text to one sentence.
    """

    sql: str
    settings: Mapping[str, str] = field(default_factory=dict)
    untouched: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """How one execution went.

    Attributes:
        latency_ms: Client-side wall-clock time from sending the statement to holding its last row; where it timed out,
            the time after which it was stopped.
        timed_out: Whether the time-out ended it.
        num_rows: Rows of the result; None if it timed out.
        digest: A digest of the result's rows in any order, of column names too: equal digests are equal results. None if
            it timed out.
    """

    latency_ms: float
    timed_out: bool = False
    num_rows: int | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedQuery:
    """A query that a database remembers, as pg_stat_statements does.

    Attributes:
        sql: Its text, with $1, $2, … where the record has left out constants.
        calls: How often it ran.
        total_ms: How long in all.
    """

    sql: str
    calls: int
    total_ms: float


class DatabaseBackend(ABC):
    """A database whose planner takes hints. Never changes data, never changes a result.

    What it is given is parsed, checked to be one SELECT that only reads, and written anew: a model's text never reaches
    the database.

    Capabilities: "join-order" (a `Leading` is obeyed), "join-side" (with which input is the outer one), "join-method"
    (query-wide, by switches), "join-method-per-join", "scan-method" (per alias), "buffers" (explain can count them),
    "administrator" (`admin_dsn` works), "recorded" (`recorded` works), "serving" (`connection_class` and `written` work).
    """

    dialect: str = "postgres"
    """sqlglot's name for the language of its queries."""
    connections: ClassVar[tuple[str, str] | None] = None
    """"module:Class" of what `connection_class` returns, the second for asyncio; named and not imported, as a component's
    factory is, for they stand on the backend. None of a database that serves nothing."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Names the database, the same from every connection to it: what was measured on one says nothing of another."""

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings that every statement runs under: plans under others cannot be compared."""
        return {}

    @property
    def server_version(self) -> int:
        """The server's version as one number that grows, e.g. 180004; 0 where there is no such thing."""
        return 0

    @abstractmethod
    def catalog(self) -> Catalog:
        """Return what the connection sees; read anew after `refresh`, else from memory."""

    @abstractmethod
    def refresh(self) -> None:
        """Forget the catalog, because the schema may have changed."""

    @abstractmethod
    def parse(self, sql: str) -> Query:
        """Read one query, checked to be a SELECT that only reads.

        Raises:
            QuerySyntaxError: The text is no SQL.
            UnsafeQueryError: It is not one SELECT, or does what a SELECT here may not.
        """

    def hinted(self, query: Query, hints: PlanHints = NO_HINTS) -> HintedStatement:
        """Return what would be sent; without hints the query's own text and no settings.

        Raises:
            HintError: A hint does not fit the query: an alias or index that is not there, an order that is not legal.
            QuerySyntaxError: As `parse` raises it: a query is plain data, and may never have gone through there.
            UnsafeQueryError: Likewise.
        """
        from trellis.sql.fit import check_hints

        self.parse(query.sql)
        if not hints:
            return HintedStatement(query.sql)
        check_hints(hints, query, self.catalog())
        return self.statement(query, hints)

    @abstractmethod
    def statement(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return what would be sent for a query that was checked under hints, at least one, that fit it."""

    @abstractmethod
    def explain(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> Plan:
        """Return the planner's plan; with a time-out, run it (EXPLAIN ANALYZE) for at most that long and measure it.

        Raises:
            QueryTimeoutError: It ran longer than `timeout_ms`.
        """

    def planned(self, query: Query, hints: PlanHints) -> Plan | None:
        """Return the plan under hints as `explain` does; None where the hints do not fit or the database refuses them.

        Raises:
            ConnectionLostError: The server went away: that says nothing of the hints.
        """
        try:
            return self.explain(query, hints)
        except ConnectionLostError:
            raise
        except (HintError, DatabaseError):
            return None

    @abstractmethod
    def explain_json(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> str:
        """Return what `explain` read, as the database wrote it: a JSON document that other tools draw, e.g. PEV2."""

    @abstractmethod
    def execute(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float) -> Execution:
        """Run a query read-only for at most `timeout_ms`; a time-out is an answer, not an error.

        Raises:
            ConnectionLostError: The server went away; the next call connects anew.
            DatabaseError: Anything else that the database says.
        """

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Return a context in which nobody else times anything on this database: others wait for it to end."""

    def admin_dsn(self) -> str:
        """Return a connection string of an administrator, for what a backend never does itself: to load data.

        Raises:
            CapabilityError: The backend was not given an administrator; data is loaded by other means.
        """
        raise CapabilityError(
            type(self).__name__, capability="administrator", mend="load data with the database's own tools."
        )

    def recorded(self) -> Sequence[RecordedQuery]:
        """Return the queries that the database remembers having run, those that took longest in all first.

        Raises:
            CapabilityError: It keeps no such record.
        """
        raise CapabilityError(type(self).__name__, capability="record of queries", mend="give the workload as files.")

    def examples(self, table: str, column: str) -> Sequence[str]:
        """Return literals that a column holds, as SQL, from the planner's statistics; empty where there are none."""
        return ()

    def setup_role(self, role: str, *, dry_run: bool = False) -> tuple[str, ...]:
        """Make a role that can only read, for others to connect as, and return the statements that make it.

        It may be done again: what is there is brought into order. The connection must be that of an administrator.

        Args:
            role: Its name.
            dry_run: Only return the statements.

        Raises:
            CapabilityError: The database has no roles.
        """
        raise CapabilityError(
            type(self).__name__, capability="roles", mend="its file's permissions decide who reads it."
        )

    @classmethod
    def connection_class(cls, *, asynchronous: bool = False) -> type[Any]:
        """Return the driver's connection class, made to serve verified plans to applications.

        Its `connect(conninfo, *, memory, serving, …)` takes the path of a journal (`trellis.memory.journal`), a
        `trellis.memory.serving.ServingConfig`, and what the driver's own takes.

        Args:
            asynchronous: Whether its methods are coroutines.

        Raises:
            CapabilityError: The database serves nothing.
        """
        if cls.connections is None:
            raise CapabilityError(cls.__name__, capability="serving connection", mend="serve from PostgreSQL.")
        found: type[Any] = load(cls.connections[1 if asynchronous else 0])
        return found

    @classmethod
    def written(cls, query: Query, hints: PlanHints, dialect: str) -> HintedStatement:
        """Return what would be sent under a way of giving hints, without any connection.

        Args:
            query: The query.
            hints: Hints that fit it.
            dialect: One of its ways.

        Raises:
            CapabilityError: There is no such way.
        """
        raise CapabilityError(cls.__name__, capability=f"dialect '{dialect}'", mend="export for PostgreSQL.")

    @abstractmethod
    def close(self) -> None:
        """Release everything; may be called again."""
