"""DuckDB as a `DatabaseBackend`.

A join order is asked for by writing FROM as an explicit tree of joins and switching DuckDB's own join optimizer off for that
statement: without `join_order` it makes the joins as they are written, without `build_side_probe_side` the right input is the one
a hash table is built of. The other optimizers stay on, and blocks without a hint keep the order that DuckDB chose for them.
Methods and scans cannot be asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import duckdb

from trellis.contracts.database import NO_HINTS, DatabaseBackend, Execution, HintedStatement
from trellis.errors import DatabaseError, QueryTimeoutError
from trellis.sql.catalog import Catalog
from trellis.sql.digest import RowDigest
from trellis.sql.hints import Join, JoinHint, Leading, PlanHints, ScanHint, tree_aliases
from trellis.sql.join_trees import join_tree
from trellis.sql.orders import illegal
from trellis.sql.plan import Plan
from trellis.sql.query import Query
from trellis.sql.reader import parse_safe
from trellis.sql.rewrite import rewrite
from trellis_duckdb.catalog import Schema, read_schema
from trellis_duckdb.config import DuckDBConfig
from trellis_duckdb.guard import Guard
from trellis_duckdb.plan import parse_plan
from trellis_duckdb.session import Session

_PARSED_AT_MOST = 1024
_PLANNING_MS = 30_000.0
_AS_WRITTEN = {"disabled_optimizers": "join_order,build_side_probe_side"}


class DuckDB(DatabaseBackend):
    """One database. Nothing is opened before the first call that needs it.

    Attributes:
        Config: Its configuration.
        config: As given.

    Example:
        >>> database = DuckDB(DuckDBConfig())
        >>> _ = database.connection.execute("CREATE TABLE city AS SELECT range AS id FROM range(20)")
        >>> database.execute(database.parse("SELECT count(*) FROM city"), timeout_ms=1000).num_rows
        1
    """

    Config = DuckDBConfig
    dialect = "duckdb"

    def __init__(self, config: DuckDBConfig) -> None:
        self.config = config
        self._session = Session(config)
        self._read: tuple[Schema, Guard] | None = None
        self._parsed = lru_cache(_PARSED_AT_MOST)(self._parse)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """A connection of your own to the same database, for loading data: `backend.connection.execute("CREATE TABLE …")`.

        It is the way to fill a database in memory. What it does is not checked, only commit it, and call `refresh` when the
        schema has changed. It reads no files either; large data is better loaded into a file with DuckDB's own tools.
        """
        return self._session.connection

    @property
    def identity(self) -> str:
        """The file's full path; a database in memory is known to nobody else."""
        return (
            f"duckdb {Path(self.config.path).resolve()}"
            if self.config.path
            else f"duckdb in memory, {id(self._session)}"
        )

    def catalog(self) -> Catalog:
        """Return the tables and views of the database; temporary ones are not seen."""
        return self._known()[0].catalog

    def refresh(self) -> None:
        """Forget the catalog and the functions, because the schema may have changed."""
        self._read = None
        self._parsed.cache_clear()

    def parse(self, sql: str) -> Query:
        """Read one query; the text is checked by its tree and by DuckDB's own reading of it.

        Raises:
            QuerySyntaxError: The text is no SQL.
            UnsafeQueryError: It is not one SELECT, or does what a SELECT here may not.
        """
        return self._parsed(sql)

    def _parse(self, sql: str) -> Query:
        schema, guard = self._known()
        guard.check(sql)
        return parse_safe(
            sql, dialect=self.dialect, catalog=schema.catalog, allow_functions=self.config.allow_functions
        )

    def statement(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return what would be sent: FROM as a tree of joins where there is a `Leading`."""
        sql = query.sql
        untouched: dict[str, str] = {}
        for hint in hints:
            if isinstance(hint, JoinHint):
                untouched[str(hint)] = (
                    "DuckDB chooses the method of each join by its condition and takes no hint for it"
                )
            elif isinstance(hint, ScanHint):
                untouched[str(hint)] = "DuckDB chooses how a table is read by its filters and takes no hint for it"
            elif not isinstance(hint, Leading):
                untouched[str(hint)] = "DuckDB has no such setting"
        if hints.leading:
            kept = self._kept(query, hints, untouched)
            sql, unchanged = rewrite(query, PlanHints(leading=(*hints.leading, *kept)))
            for name, reason in unchanged.items():
                untouched.setdefault(
                    next((path for leading, path in kept.items() if str(leading) == name), name), reason
                )
        if sql == query.sql:
            return HintedStatement(sql, {}, untouched)
        self._known()[1].check(sql)
        return HintedStatement(sql, _AS_WRITTEN, untouched)

    def explain(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> Plan:
        """Return the plan; with a time-out, executed and measured. Estimates are 0 where a `Leading` is obeyed.

        Raises:
            QueryTimeoutError: It ran longer than `timeout_ms`.
        """
        statement = self.hinted(query, hints)
        document = self._explain(statement, timeout_ms)
        obeyed = [leading for leading in hints.leading if str(leading) not in statement.untouched]
        return parse_plan(document, query, self._known()[0], obeyed)

    def explain_json(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float | None = None) -> str:
        """Return DuckDB's own JSON.

        Raises:
            QueryTimeoutError: It ran longer than `timeout_ms`.
        """
        return self._explain(self.hinted(query, hints), timeout_ms)

    def execute(self, query: Query, hints: PlanHints = NO_HINTS, *, timeout_ms: float) -> Execution:
        """Run a query read-only; its rows are hashed as they come and not kept. Floating-point numbers count to the last bit.

        Raises:
            ConnectionLostError: The database failed for good; the next call opens it anew.
            DatabaseError: Anything else that DuckDB says.
        """
        statement = self.hinted(query, hints)
        digest = RowDigest()
        try:
            answer = self._session.run(statement.sql, settings=statement.settings, timeout_ms=timeout_ms, digest=digest)
        except QueryTimeoutError:
            return Execution(timeout_ms, timed_out=True)
        columns = [column.encode() for column in answer.columns]
        return Execution(answer.latency_ms, num_rows=digest.num_rows, digest=digest.hexdigest(columns))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads from running anything on this database until the context ends.

        For a file, whichever backend they use; another process can only have it open if both read.
        """
        with self._session.lock:
            yield

    def close(self) -> None:
        """Close the database; what is in memory only is gone. May be called again."""
        self.refresh()
        self._session.close()

    def _kept(self, query: Query, hints: PlanHints, untouched: dict[str, str]) -> dict[Leading, str]:
        """Return DuckDB's own order, and the path, of each block without a hint, and note in `untouched` where it is not known.

        The join optimizer is off for the whole statement, so that these blocks would be joined as they are written.
        """
        hinted = {frozenset(tree_aliases(leading.tree)) for leading in hints.leading}
        others = [b for b in query.blocks if len(b.relations) > 1 and frozenset(b.aliases) not in hinted]
        plan = self.explain(query) if others else None
        kept: dict[Leading, str] = {}
        for block in others:
            assert plan is not None
            try:
                tree = join_tree(plan, block.aliases, query)
            except ValueError:
                tree = None
            named = all(relation.hintable for relation in block.relations)
            if named and isinstance(tree, Join) and not illegal(block, tree):
                kept[Leading(tree)] = block.path
            else:
                untouched[block.path] = (
                    f"{block.path} has no Leading hint and DuckDB's own order of it is not known, so with one elsewhere in the "
                    "query it is joined as it is written; give it one as well"
                )
        return kept

    def _explain(self, statement: HintedStatement, timeout_ms: float | None) -> str:
        options = "FORMAT JSON" if timeout_ms is None else "ANALYZE, FORMAT JSON"
        answer = self._session.run(
            f"EXPLAIN ({options}) {statement.sql}",
            settings=statement.settings,
            timeout_ms=_PLANNING_MS if timeout_ms is None else timeout_ms,
        )
        if len(answer.rows) != 1 or len(answer.rows[0]) != 2:
            raise DatabaseError("DuckDB returned no plan")
        return str(answer.rows[0][1])

    def _known(self) -> tuple[Schema, Guard]:
        if self._read is None:
            schema = read_schema(self._session, timeout_ms=_PLANNING_MS)
            guard = Guard(self._session, schema, allow_functions=self.config.allow_functions, timeout_ms=_PLANNING_MS)
            self._read = schema, guard
        return self._read
