"""PostgreSQL as a `DatabaseBackend`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache

import psycopg

from trellis.contracts.database import NO_HINTS, DatabaseBackend, Execution, HintedStatement, RecordedQuery
from trellis.errors import CapabilityError, DatabaseError, QueryTimeoutError
from trellis.sql.catalog import Catalog
from trellis.sql.digest import RowDigest
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan
from trellis.sql.query import Query
from trellis.sql.reader import parse_safe
from trellis_postgres.catalog import Schema, read_schema
from trellis_postgres.config import PostgresConfig
from trellis_postgres.dialects.base import HintDialect
from trellis_postgres.dialects.pg_hint_plan import REPORTING, HintReport, PgHintPlan, read_reports
from trellis_postgres.functions import FunctionGuard
from trellis_postgres.lexer import read_text
from trellis_postgres.plan import parse_plan
from trellis_postgres.probe import DIALECTS, choose_dialect
from trellis_postgres.server import EmbeddedServer
from trellis_postgres.session import Session
from trellis_postgres.setup import ROLE, setup_role

_PARSED_AT_MOST = 1024
_TIMING = int.from_bytes(b"trellis", "big")
_IDENTITY = """
SELECT system_identifier || '/' || pg_catalog.current_database() FROM pg_catalog.pg_control_system()
"""
_STATEMENTS_SCHEMA = """
SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""
_STATEMENTS = """
SELECT s.query, s.calls, s.total_exec_time FROM {}.pg_stat_statements s
JOIN pg_catalog.pg_database d ON d.oid = s.dbid WHERE d.datname = pg_catalog.current_database() AND s.query IS NOT NULL
ORDER BY s.total_exec_time DESC
"""
_HIDDEN = b"<insufficient privilege>"
_EXAMPLES = """
SELECT pg_catalog.quote_literal(v) FROM pg_catalog.pg_stats s, LATERAL pg_catalog.unnest(
    COALESCE(s.most_common_vals::text::text[], '{}') || COALESCE(s.histogram_bounds::text::text[], '{}')) v
WHERE s.schemaname = $1 AND s.tablename = $2 AND s.attname = $3
"""


class Postgres(DatabaseBackend):
    """One database. Nothing is started or connected before the first call that needs it.

    Attributes:
        Config: Its configuration.
        config: As given.
    """

    Config = PostgresConfig
    dialect = "postgres"
    connections = (
        "trellis_postgres.serving.connection:Connection",
        "trellis_postgres.serving.connection:AsyncConnection",
    )

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self._server = (
            None
            if config.dsn
            else EmbeddedServer(config.directory, database=config.database, start_timeout_ms=config.start_timeout_ms)
        )
        self._connected: tuple[HintDialect, Session] | None = None
        self._schema: Schema | None = None
        self._guard: FunctionGuard | None = None
        self._parsed = lru_cache(_PARSED_AT_MOST)(self._parse)
        self._alone: psycopg.Connection | None = None
        self._num_alone = 0
        self._alone_here = threading.RLock()
        self._identity: str | None = None

    @property
    def hint_dialect(self) -> HintDialect:
        """How hints are given on this server."""
        return self._connection()[0]

    @property
    def libraries(self) -> tuple[str, ...]:
        """Modules that a connection must load for its hints to be heard."""
        return self._session.libraries

    @property
    def capabilities(self) -> frozenset[str]:
        """What of a plan hints decide on this server; never less than the component's record says."""
        return self.hint_dialect.capabilities

    @property
    def identity(self) -> str:
        """The cluster's own number, which no other has, and the database's name."""
        if self._identity is None:
            rows = self._session.run(_IDENTITY, timeout_ms=self.config.explain_timeout_ms).rows
            self._identity = _text(rows[0][0])
        return self._identity

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings that every statement runs under."""
        return self.config.settings

    @property
    def server_version(self) -> int:
        """The server's version, e.g. 180004."""
        return self._session.server_version()

    @cached_property
    def server(self) -> EmbeddedServer:
        """The embedded server: its `dsn("postgres")` is the administrator's, for loading data.

        Raises:
            CapabilityError: A DSN was given, so there is none.
        """
        if self._server is None:
            raise CapabilityError("postgres", capability="embedded server", mend="it was given a DSN; leave `dsn` out.")
        return self._server

    def catalog(self) -> Catalog:
        """Return the tables that the role may read."""
        return self._known()[0].catalog

    def refresh(self) -> None:
        """Forget the catalog and the functions, because the schema may have changed."""
        self._schema = self._guard = None
        self._parsed.cache_clear()

    def parse(self, sql: str) -> Query:
        """Read one query; the text, its tree and the functions it calls are checked.

        Raises:
            QuerySyntaxError: The text is no SQL.
            UnsafeQueryError: It is not one SELECT, or does what a SELECT here may not.
        """
        return self._parsed(sql)

    def _parse(self, sql: str) -> Query:
        text = read_text(sql, max_chars=self.config.max_query_chars)
        schema, guard = self._known()
        query = parse_safe(
            sql, dialect=self.dialect, catalog=schema.catalog, allow_functions=self.config.allow_functions
        )
        guard.check(text)
        return query

    def statement(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return what would be sent in the dialect of this server."""
        return self.hint_dialect.hinted(query, hints)

    def explain(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> Plan:
        """Return the plan; with a time-out, executed and measured.

        Raises:
            QueryTimeoutError: It ran longer than `timeout_ms`.
        """
        aliases = [relation.alias for relation in query.relations if relation.hintable]
        return parse_plan(self.explain_json(query, hints, timeout_ms=timeout_ms), aliases=aliases)

    def explain_json(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> str:
        """Return PostgreSQL's own JSON, as PEV2 and other viewers read it; measured plans with the blocks they read.

        Raises:
            QueryTimeoutError: It ran longer than `timeout_ms`.
        """
        statement = self.hinted(query, hints)
        options = ["FORMAT JSON", "SETTINGS"]
        if timeout_ms is not None:
            options += ["ANALYZE", "BUFFERS"]
        answer = self._session.run(
            _explain(statement, ", ".join(options)),
            settings=statement.settings,
            timeout_ms=self.config.explain_timeout_ms if timeout_ms is None else timeout_ms,
        )
        document = answer.rows[0][0]
        if document is None or not isinstance(json.loads(document), list):
            raise DatabaseError("PostgreSQL returned no plan")
        return document.decode()

    def execute(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float) -> Execution:
        """Run a query read-only; its rows are hashed as they come and not kept.

        Raises:
            ConnectionLostError: The server went away; the next call connects anew.
            DatabaseError: Anything else that PostgreSQL says.
        """
        statement = self.hinted(query, hints)
        digest = RowDigest()
        try:
            answer = self._session.run(statement.sql, settings=statement.settings, timeout_ms=timeout_ms, digest=digest)
        except QueryTimeoutError:
            return Execution(timeout_ms, timed_out=True)
        return Execution(answer.latency_ms, num_rows=digest.num_rows, digest=digest.hexdigest(answer.columns))

    def hint_reports(self, query: Query, hints: PlanHints) -> list[HintReport]:
        """Return what pg_hint_plan says became of each hint.

        Raises:
            CapabilityError: Hints are given in another way on this server; compare the plan with them instead.
        """
        if not isinstance(self.hint_dialect, PgHintPlan):
            raise CapabilityError(
                "postgres",
                capability=f"report of what became of hints under the dialect {self.hint_dialect.name}",
                mend="compare `explain` with the hints (`trellis.sql.compare`).",
            )
        statement = self.hinted(query, hints)
        self._session.run(
            _explain(statement, "FORMAT JSON"),
            settings={**statement.settings, **REPORTING},
            timeout_ms=self.config.explain_timeout_ms,
        )
        return read_reports(self._session.notices)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold an advisory lock of the database, on a connection of its own: who else asks for it waits.

        Databases of one server are told apart, though they share its processor.
        """
        with self._alone_here:
            if self._num_alone == 0:
                self._alone = psycopg.connect(self._address(), autocommit=True, application_name="trellis: timing")
                self._alone.execute("SELECT pg_catalog.pg_advisory_lock(%s)", (_TIMING,))
            self._num_alone += 1
            try:
                yield
            finally:
                self._num_alone -= 1
                if self._num_alone == 0 and self._alone is not None:
                    self._alone.close()
                    self._alone = None

    def admin_dsn(self) -> str:
        """Return the embedded server's administrator; a DSN's is not known here."""
        if self._server is None:
            return super().admin_dsn()
        return self.server.dsn("postgres")

    def recorded(self) -> Sequence[RecordedQuery]:
        """Return what pg_stat_statements holds of this database, what took longest in all first.

        Raises:
            CapabilityError: The extension is not in this database, or the role may not read others' queries.
        """
        found = self._session.run(_STATEMENTS_SCHEMA, timeout_ms=self.config.explain_timeout_ms).rows
        if not found or found[0][0] is None:
            raise CapabilityError(
                "postgres",
                capability="record of queries",
                mend="add pg_stat_statements to shared_preload_libraries and CREATE EXTENSION pg_stat_statements, or give "
                "the queries as files.",
            )
        schema = found[0][0].decode()
        rows = self._session.run(_STATEMENTS.format(schema), timeout_ms=self.config.explain_timeout_ms).rows
        shown = [row for row in rows if row[0] != _HIDDEN]
        if rows and not shown:
            raise CapabilityError(
                "postgres",
                capability="right to read what others have run",
                mend="GRANT pg_read_all_stats to its role.",
            )
        return [RecordedQuery(_text(sql), int(_text(calls)), float(_text(total))) for sql, calls, total in shown]

    def examples(self, table: str, column: str) -> Sequence[str]:
        """Return a column's most common values and the bounds of its histogram, as literals."""
        known = self.catalog().table(table)
        if known is None:
            return ()
        names = (known.schema, known.name, column)
        rows = self._session.run(_EXAMPLES, names, timeout_ms=self.config.explain_timeout_ms).rows
        return [_text(value) for (value,) in rows if value is not None]

    def setup_role(self, role: str = ROLE, *, dry_run: bool = False) -> tuple[str, ...]:
        """Make the role that may only read, as the role that the DSN names.

        Raises:
            DatabaseError: The server refuses, or the role is somebody's.
        """
        if self._server is None:
            return setup_role(self._address(), role=role, dry_run=dry_run)
        return setup_role(self.admin_dsn(), role=role, login=True, dry_run=dry_run)

    @classmethod
    def written(cls, query: Query, hints: PlanHints, dialect: str) -> HintedStatement:
        """Return what would be sent under a dialect: "rewrite", "pg_hint_plan" or "pg_plan_advice".

        Raises:
            CapabilityError: There is no such dialect.
        """
        if dialect not in DIALECTS:
            raise CapabilityError(
                "postgres", capability=f"dialect '{dialect}'", mend=f"there are {', '.join(sorted(DIALECTS))}."
            )
        return DIALECTS[dialect]().hinted(query, hints) if hints else HintedStatement(query.sql)

    def close(self) -> None:
        """Disconnect, and stop the embedded server if nobody else uses it; may be called again."""
        self.refresh()
        if self._connected is not None:
            self._connected[1].close()
            self._connected = None
        if self._server is not None:
            self._server.close()

    @property
    def _session(self) -> Session:
        return self._connection()[1]

    def _connection(self) -> tuple[HintDialect, Session]:
        if self._connected is None:
            self._connected = choose_dialect(self._address, self.config)
        return self._connected

    def _address(self) -> str:
        return self.config.dsn if self._server is None and self.config.dsn else self.server.dsn()

    def _known(self) -> tuple[Schema, FunctionGuard]:
        if self._schema is None or self._guard is None:
            self._schema = read_schema(self._session, timeout_ms=self.config.explain_timeout_ms)
            self._guard = FunctionGuard(self._session, self._schema.views, self.config)
        return self._schema, self._guard


def _explain(statement: HintedStatement, options: str) -> str:
    # pg_hint_plan reads the first comment of all that is sent.
    end = statement.sql.find("*/") + 2 if statement.sql.startswith("/*+") else 0
    return f"{statement.sql[:end]} EXPLAIN ({options}) {statement.sql[end:]}"


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
