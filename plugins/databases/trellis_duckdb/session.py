"""Statements one after the other, each in a read-only transaction of its own that is rolled back.

    SET every setting; BEGIN READ ONLY; the statement; ROLLBACK; RESET every setting

DuckDB has no time-out: a second thread interrupts the statement. Its planner's settings belong to the whole instance, and two
connections to one file in one process share an instance, so all of them share a lock as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import duckdb

from trellis.errors import ConnectionLostError, DatabaseError, QueryTimeoutError
from trellis.sql.digest import RowDigest
from trellis_duckdb.config import DuckDBConfig

ROWS_AT_ONCE = 2048
_AGAIN_S = 0.01


class _Lock:
    """A re-entrant lock that a dictionary can refer to weakly."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


_locks: WeakValueDictionary[str, _Lock] = WeakValueDictionary()
_locks_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement returned.

    Attributes:
        columns: Names of its columns.
        rows: Its rows; empty where a digest took them.
        latency_ms: From sending it to holding its last row.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    latency_ms: float


class Session:
    """One database, opened when first used."""

    def __init__(self, config: DuckDBConfig) -> None:
        self._config = config
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._lock = _Lock() if config.path is None else _lock_of(config.path)

    @property
    def lock(self) -> threading.RLock:
        """Held while a statement runs; one for all sessions of this process on the same file."""
        return self._lock.lock

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection that belongs to whoever loads data; statements run on another one to the same instance."""
        with self.lock:
            if self._connection is None:
                self._connection = _open(self._config)
            return self._connection

    def run(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        settings: Mapping[str, str] | None = None,
        timeout_ms: float,
        digest: RowDigest | None = None,
    ) -> Answer:
        """Run one statement.

        Args:
            sql: The statement.
            parameters: The values of its parameters.
            settings: Of the instance, for this statement alone.
            timeout_ms: After which it is interrupted.
            digest: Takes the rows as they come; without it they are returned.

        Raises:
            QueryTimeoutError: It was interrupted.
            ConnectionLostError: The instance has failed for good; the next call opens the database anew.
            DatabaseError: Anything else that DuckDB says.
        """
        if not (math.isfinite(timeout_ms) and timeout_ms > 0):
            raise ValueError(f"a time-out is a positive number of milliseconds, not {timeout_ms}")
        with self.lock:
            if self._cursor is None:
                self._cursor = self.connection.cursor()
            try:
                with _set(self._cursor, settings or {}), _read_only(self._cursor):
                    return _run(self._cursor, sql, parameters, timeout_ms, digest)
            except duckdb.FatalException as error:
                self.close()
                raise ConnectionLostError(f"DuckDB gave up: {error}") from None
            except duckdb.Error as error:
                raise DatabaseError(str(error)) from None

    def close(self) -> None:
        """Close the database; what is in memory only is gone. May be called again, and a later call opens it anew."""
        with self.lock:
            for connection in (self._cursor, self._connection):
                if connection is not None:
                    connection.close()
            self._cursor = self._connection = None


def _lock_of(path: str) -> _Lock:
    key = os.path.realpath(path)
    with _locks_lock:
        return _locks.setdefault(key, _Lock())


def _open(config: DuckDBConfig) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "threads": str(config.threads),
    }
    if config.memory_limit is not None:
        settings["memory_limit"] = config.memory_limit
    read_only = config.path is not None and config.read_only
    if config.path is not None and read_only and not Path(config.path).is_file():
        raise DatabaseError(
            f"cannot open {config.path}: there is no such file. Check `path`, or set `read_only: false` to make an empty "
            "database."
        )
    try:
        return duckdb.connect(config.path or ":memory:", read_only=read_only, config=settings)
    except duckdb.Error as error:
        said = " ".join(str(error).split())
        raise DatabaseError(
            f"cannot open {config.path or 'a database in memory'}: {said}. One process may write a file, or several may read it; "
            "within a process all connections to it have the same configuration."
        ) from None


@contextlib.contextmanager
def _set(cursor: duckdb.DuckDBPyConnection, settings: Mapping[str, str]) -> Iterator[None]:
    try:
        for name, value in settings.items():
            cursor.execute(f"SET GLOBAL {name} = '{value}'")
        yield
    finally:
        for name in settings:
            cursor.execute(f"RESET GLOBAL {name}")


@contextlib.contextmanager
def _read_only(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    try:
        yield
    finally:
        cursor.execute("ROLLBACK")


def _run(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Sequence[object],
    timeout_ms: float,
    digest: RowDigest | None,
) -> Answer:
    rows: list[tuple[Any, ...]] = []
    with _Watch(cursor, timeout_ms) as watch:
        started = time.perf_counter()
        try:
            cursor.execute(sql, list(parameters) or None)
            columns = tuple(column[0] for column in cursor.description or ())
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                if digest is None:
                    rows += batch
                else:
                    for row in batch:
                        digest.add([encoded(value) for value in row])
            latency_ms = (time.perf_counter() - started) * 1000
        except duckdb.InterruptException:
            if watch.interrupted:
                raise QueryTimeoutError(timeout_ms) from None
            raise
    return Answer(columns, rows, latency_ms)


def encoded(value: object) -> bytes | None:
    """Return a value's bytes for a digest: floating-point numbers to the last bit, NULL as None."""
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else repr(value).encode()


class _Watch:
    """Interrupts what runs on a connection after a time, and again until it has ended.

    Attributes:
        interrupted: Whether it did.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, timeout_ms: float) -> None:
        self.interrupted = False
        self._connection = connection
        self._timeout_s = timeout_ms / 1000
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="trellis-duckdb-timeout", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Joined before anything else is sent: an interrupt that comes late must not hit the next statement.
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = self._ended.wait(self._timeout_s)
        while not ended:
            self.interrupted = True
            # DuckDB forgets an interrupt that comes before the statement has begun.
            self._connection.interrupt()
            ended = self._ended.wait(_AGAIN_S)
