"""Loads a generated workload's database into PostgreSQL, once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus

from trellis_workload.generator import Workload, WorkloadError
from trellis_workload.shop import TABLES

_MARKED = "city"
"""The table whose comment says which workload is loaded."""


def load(connection: Connection | str, workload: Workload) -> bool:
    """Load a workload's database, unless it is there already.

    All tables come in one transaction and in the first schema of the search path; then they are vacuumed and analysed. A
    comment on the table `city` says which workload it is, so a database is loaded once, and a load that was interrupted
    after its transaction is finished by the next.

    Args:
        connection: An idle connection, left open and set as it was; or a connection string (DSN or URI).
        workload: What to load.

    Returns:
        Whether anything was loaded; False where this workload's database was there already.

    Raises:
        WorkloadError: The database has tables of these names that are not of this workload, or the connection is inside a
            transaction.
    """
    with _autocommit(connection) as session:
        loaded, begun = (
            f"trellis workload {workload.data_digest}",
            f"trellis workload {workload.data_digest}, to be analysed",
        )
        marker = _marker(session)
        if marker == loaded:
            return False
        if marker != begun:
            _refuse_tables(session, marker)
            with session.transaction():
                for statement in (*workload.schema, *workload.load, _comment(begun)):
                    session.execute(statement.encode())
        for statement in (*workload.finish, _comment(loaded)):
            session.execute(statement.encode())
        return True


@contextlib.contextmanager
def _autocommit(connection: Connection | str) -> Iterator[Connection]:
    if isinstance(connection, str):
        with psycopg.connect(connection, autocommit=True) as opened:
            yield opened
        return
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise WorkloadError(
            "a workload is loaded in transactions of its own, but the connection is inside one: commit or roll back first"
        )
    before = connection.autocommit
    connection.autocommit = True
    try:
        yield connection
    finally:
        if not connection.closed:
            connection.autocommit = before


def _comment(text: str) -> str:
    return f"COMMENT ON TABLE {_MARKED} IS '{text}'"


def _marker(session: Connection) -> str | None:
    row = session.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", (_MARKED,)).fetchone()
    return None if row is None else row[0]


def _refuse_tables(session: Connection, marker: str | None) -> None:
    rows = session.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s) ORDER BY relname",
        (list(TABLES),),
    ).fetchall()
    if rows:
        names = ", ".join(name for (name,) in rows)
        other = marker is not None and marker.startswith("trellis workload ")
        what = "another workload (other seed, scale or version)" if other else "tables of its own"
        raise WorkloadError(
            f"the database '{session.info.dbname}' holds {what}: {names}. Load into an empty database (CREATE DATABASE …), "
            "or drop these tables first."
        )
