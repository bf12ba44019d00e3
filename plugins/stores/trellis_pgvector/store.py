"""The exact store: PostgreSQL compares the query with every record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from trellis.contracts import DatabaseBackend
from trellis.contracts.store import Match, Record, RetrievalStore, check_vector
from trellis.errors import ConnectionLostError, DatabaseError
from trellis.types import JSON
from trellis_pgvector.config import PgVectorConfig

# pgvector gives NaN for the distance to zeros, which are similar to nothing.
_DISTANCE = sql.SQL(
    "CASE WHEN vector_norm(vector) = 0 THEN 1 ELSE coalesce(nullif(vector <=> %(q)s::vector, 'NaN'), 1) END"
)


class PgVector(RetrievalStore):
    """An exact store in a table. Connects when it is first used, and anew after the connection was lost.

    Args:
        config: Which server and table.
        database: Gives the server where the config does not.

    Raises:
        DatabaseError: Neither names a server.
    """

    Config = PgVectorConfig

    def __init__(self, config: PgVectorConfig, database: DatabaseBackend | None = None) -> None:
        if config.dsn is None and database is None:
            raise DatabaseError("the store has no server: set `dsn`, or give it the need `database`")
        self.config = config
        self._database = database
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._table = sql.Identifier(*config.table.split("."))

    def add(self, records: Sequence[Record]) -> None:
        """Add records, replacing those with the same id: all or none."""
        rows = {}
        with self._transaction() as connection:
            # Writers one after the other, so that none adds another length meanwhile.
            connection.execute(self._sql("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
            length = self._length(connection)
            for record in records:
                check_vector(record.vector, length, whose=f"record {record.id!r}")
                length = len(record.vector)
                data = json.dumps(dict(record.data), ensure_ascii=False, allow_nan=False)
                rows[record.id] = (record.id, _text(record.vector, f"record {record.id!r}"), data)
            if rows and length is not None:
                self._prepare(connection, length)
                statement = self._sql(
                    "INSERT INTO {table} (id, vector, data) VALUES (%s, %s::vector, %s::jsonb) "
                    "ON CONFLICT (id) DO UPDATE SET vector = excluded.vector, data = excluded.data"
                )
                with connection.cursor() as cursor:
                    cursor.executemany(statement, list(rows.values()))

    def query(self, vector: Sequence[float], k: int, where: Mapping[str, JSON] | None = None) -> list[Match]:
        """Return the `k` most similar records whose data equal `where`, most similar first."""
        with self._transaction() as connection:
            length = self._length(connection)
            check_vector(vector, length, whose="the query")
            asked = _text(vector, "the query")
            if k < 1 or length is None:
                return []
            return (
                self._nearest(connection, asked, k, where or {})
                if any(vector)
                else self._any(connection, k, where or {})
            )

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, None where there is none."""
        with self._transaction() as connection:
            statement = self._sql("SELECT id, vector::text, data::text FROM {table} WHERE id = ANY(%s)")
            found = {row[0]: _record(*row) for row in connection.execute(statement, (list(ids),))}
        return [found.get(id_) for id_ in ids]

    def delete(self, ids: Sequence[str]) -> int:
        """Forget these ids and return how many there were."""
        with self._transaction() as connection:
            return connection.execute(self._sql("DELETE FROM {table} WHERE id = ANY(%s)"), (list(ids),)).rowcount

    def clear(self) -> None:
        """Forget all records; vectors of another length may come next."""
        with self._transaction() as connection:
            connection.execute(self._sql("TRUNCATE {table}"))

    def count(self) -> int:
        """Return how many records there are."""
        with self._transaction() as connection:
            (row,) = connection.execute(self._sql("SELECT count(*) FROM {table}")).fetchall()
            return int(row[0])

    def rebuild(self) -> None:
        """Make the table's indexes anew."""
        with self._transaction() as connection:
            connection.execute(self._sql("REINDEX TABLE {table}"))

    def close(self) -> None:
        """Close the connection; may be called again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self, connection: psycopg.Connection[tuple[Any, ...]], length: int) -> None:
        """Make what the first vectors of a length need; nothing here."""

    def _nearest(
        self, connection: psycopg.Connection[tuple[Any, ...]], asked: str, k: int, where: Mapping[str, JSON]
    ) -> list[Match]:
        condition, values = write_condition(where)
        statement = sql.SQL(
            "SELECT id, vector::text, data::text, distance FROM (SELECT id, vector, data, {distance} AS distance FROM {table} "
            "WHERE {condition} ORDER BY distance, id LIMIT %(k)s) AS nearest ORDER BY distance, id"
        ).format(distance=_DISTANCE, table=self._table, condition=condition)
        return read_matches(connection.execute(statement, {"q": asked, "k": k, **values}).fetchall())

    def _any(self, connection: psycopg.Connection[tuple[Any, ...]], k: int, where: Mapping[str, JSON]) -> list[Match]:
        condition, values = write_condition(where)
        statement = sql.SQL(
            "SELECT id, vector::text, data::text, 1.0 FROM {table} WHERE {condition} ORDER BY id LIMIT %(k)s"
        ).format(table=self._table, condition=condition)
        return read_matches(connection.execute(statement, {"k": k, **values}).fetchall())

    def _length(self, connection: psycopg.Connection[tuple[Any, ...]]) -> int | None:
        row = connection.execute(self._sql("SELECT vector_dims(vector) FROM {table} LIMIT 1")).fetchone()
        return None if row is None else int(row[0])

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(table=self._table)

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.transaction():
                yield self._connection
        except psycopg.Error as error:
            if self._connection is None or self._connection.closed:
                self._connection = None
                raise ConnectionLostError(f"the store's server cannot be reached: {error}") from error
            raise DatabaseError(f"the table {self.config.table}: {error}", sqlstate=error.sqlstate) from error

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        dsn = self.config.dsn
        if dsn is None:
            assert self._database is not None
            dsn = self._database.admin_dsn()
        connection = psycopg.connect(dsn, autocommit=True)
        try:
            with connection.transaction():
                # Two processes that make the same at once fail, whatever IF NOT EXISTS promises.
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('trellis_pgvector'))")
                _install(connection)
                if connection.execute("SELECT to_regclass(%s)", (self.config.table,)).fetchone() == (None,):
                    text = "CREATE TABLE {table} (id text PRIMARY KEY, vector vector NOT NULL, data jsonb NOT NULL)"
                    connection.execute(self._sql(text))
        except BaseException:
            connection.close()
            raise
        return connection


def _install(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
        return
    if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
        raise DatabaseError("the server has no pgvector: install it there (https://github.com/pgvector/pgvector)")
    try:
        connection.execute("CREATE EXTENSION vector")
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            "the database lacks the extension pgvector: have an administrator say CREATE EXTENSION vector in it",
            sqlstate=error.sqlstate,
        ) from error


def write_condition(where: Mapping[str, JSON]) -> tuple[sql.Composable, dict[str, str]]:
    """Return `where` as a condition with placeholders, and their values."""
    values: dict[str, str] = {}
    parts: list[sql.Composable] = [sql.SQL("true")]
    for i, (key, value) in enumerate(where.items()):
        values[f"key{i}"], values[f"value{i}"] = key, json.dumps(value, ensure_ascii=False, allow_nan=False)
        parts.append(sql.SQL("data -> {} = {}::jsonb").format(sql.Placeholder(f"key{i}"), sql.Placeholder(f"value{i}")))
    return sql.SQL(" AND ").join(parts), values


def _text(vector: Sequence[float], whose: str) -> str:
    if any(abs(value) > 3.4e38 for value in vector):
        raise ValueError(f"the vector of {whose} holds a number that is too large for 32 bits")
    return json.dumps([float(value) for value in vector])


def _record(id_: str, vector: str, data: str) -> Record:
    return Record(id_, tuple(map(float, json.loads(vector))), json.loads(data))


def read_matches(rows: Sequence[Sequence[Any]]) -> list[Match]:
    """Return rows of id, vector, data and distance as matches."""
    return [Match(_record(*row[:3]), min(1.0, max(-1.0, 1.0 - float(row[3])))) for row in rows]
