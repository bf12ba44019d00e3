"""The journal: everything that was executed, measured and decided, append-only, in one SQLite file.

It is the truth. Vector indexes, statistics and what is served are read from it and can be made anew at any time. Every entry
is committed before `add_…` returns, so a process that is killed loses nothing that it was told is kept; several processes may
write at once (SQLite's write-ahead log). Nothing is ever changed; `forget` alone deletes, for people who ask for it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from trellis.errors import MemoryFileError

if TYPE_CHECKING:
    from trellis.sql.query import Query

Action: TypeAlias = Literal["serve", "withdraw", "keep default"]

_VERSION = 1
_BUSY_MS = 30_000
_SCHEMA = """
CREATE TABLE query (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, literals TEXT NOT NULL, sql TEXT NOT NULL, dialect TEXT NOT NULL,
    name TEXT NOT NULL, first_seen REAL NOT NULL
);
CREATE INDEX query_fingerprint ON query (fingerprint);
CREATE TABLE execution (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query, database TEXT NOT NULL, hints TEXT NOT NULL,
    latency_ms REAL NOT NULL, timed_out INTEGER NOT NULL, num_rows INTEGER, digest TEXT, purpose TEXT NOT NULL
);
CREATE INDEX execution_key ON execution (key, database);
CREATE TABLE measurement (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query, database TEXT NOT NULL, hints TEXT NOT NULL,
    judgement TEXT NOT NULL, speedup REAL NOT NULL, low REAL, high REAL, default_ms REAL, median_ms REAL, pairs INTEGER NOT NULL,
    digest TEXT, source TEXT NOT NULL, catalog_version TEXT NOT NULL, server_version INTEGER NOT NULL
);
CREATE INDEX measurement_key ON measurement (key, database);
CREATE TABLE decision (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query, database TEXT NOT NULL, action TEXT NOT NULL,
    hints TEXT NOT NULL, reason TEXT NOT NULL, measurement INTEGER REFERENCES measurement
);
CREATE INDEX decision_key ON decision (key, database, id);
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class QueryEntry:
    """A query that the journal knows.

    Attributes:
        key: `query_key` of it.
        fingerprint: Its template.
        literals: In the fingerprint's order.
        sql: Its text, as it was first seen.
        dialect: sqlglot's name of its language.
        name: What its workload calls it; empty where it came from nowhere with names.
    """

    key: str
    fingerprint: str
    literals: tuple[str, ...]
    sql: str
    dialect: str
    name: str


@dataclass(frozen=True, slots=True)
class ExecutionEntry:
    """One execution.

    Attributes:
        key: The query's.
        database: Which database, as `DatabaseBackend.identity` names it.
        hints: As text; empty for the default plan.
        latency_ms: As `Execution` has it.
        timed_out: Whether it was stopped.
        num_rows: As `Execution` has it.
        digest: As `Execution` has it.
        purpose: "explore", "verify" or "serve".
        at: Seconds since 1970; now, when left out.
    """

    key: str
    database: str
    hints: str
    latency_ms: float
    timed_out: bool
    num_rows: int | None
    digest: str | None
    purpose: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class MeasurementEntry:
    """What a query's hints were found to be worth.

    Attributes:
        key: The query's.
        database: Which database.
        hints: As text.
        judgement: As `trellis.measuring` says it.
        speedup: Default's time over their own; 0 where they failed.
        low: Of its 95% interval; None without pairs.
        high: Of its 95% interval; None without pairs.
        default_ms: The default's median.
        median_ms: Their own median.
        pairs: How many pairs of executions it rests on.
        digest: Of the result.
        source: Who proposed them.
        catalog_version: `Catalog.version` at that time.
        server_version: The server's at that time, e.g. 180004.
        at: Seconds since 1970; now, when left out.
        id: Its number in the journal; 0 before it is there.
    """

    key: str
    database: str
    hints: str
    judgement: str
    speedup: float
    low: float | None
    high: float | None
    default_ms: float | None
    median_ms: float | None
    pairs: int
    digest: str | None
    source: str
    catalog_version: str
    server_version: int
    at: float = 0.0
    id: int = 0


@dataclass(frozen=True, slots=True)
class DecisionEntry:
    """What was decided for a query, and why.

    Attributes:
        key: The query's.
        database: Which database.
        action: "serve": these hints from now on. "withdraw": no longer. "keep default": nothing is worth serving.
        hints: As text.
        reason: For a person.
        measurement: The `MeasurementEntry.id` that it rests on; None where it rests on something else.
        at: Seconds since 1970; now, when left out.
        id: Its number in the journal; 0 before it is there.
    """

    key: str
    database: str
    action: Action
    hints: str
    reason: str
    measurement: int | None = None
    at: float = 0.0
    id: int = 0


def query_key(query: Query) -> str:
    """Return what tells a query from every other: its fingerprint and a digest of its literals."""
    literals = json.dumps(query.literals, ensure_ascii=False).encode()
    return f"{query.fingerprint}-{hashlib.blake2b(literals, digest_size=8).hexdigest()}"


class Journal:
    """An open journal. Usable from several threads.

    Args:
        path: The file, made if it is not there.

    Raises:
        MemoryFileError: The file is no journal, is of a later version, or cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=_BUSY_MS / 1000, check_same_thread=False, isolation_level=None
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self._writing():
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
                empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
                if version == 0 and empty:
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
                elif version != _VERSION:
                    raise MemoryFileError(self.path, reason=f"it has version {version} of the format, not {_VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise MemoryFileError(self.path, reason=str(error)) from error

    def add_query(self, query: Query, *, name: str = "") -> str:
        """Note a query unless it is known, and return its key."""
        key = query_key(query)
        literals = json.dumps(query.literals, ensure_ascii=False)
        row = (key, query.fingerprint, literals, query.sql, query.dialect, name, time.time())
        with self._writing():
            self._db.execute("INSERT OR IGNORE INTO query VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return key

    def add_execution(self, e: ExecutionEntry) -> None:
        """Note an execution."""
        self.add_executions([e])

    def add_executions(self, entries: Sequence[ExecutionEntry]) -> None:
        """Note executions, all or none."""
        rows = [
            (
                e.at or time.time(),
                e.key,
                e.database,
                e.hints,
                e.latency_ms,
                e.timed_out,
                e.num_rows,
                e.digest,
                e.purpose,
            )
            for e in entries
        ]
        with self._writing():
            self._db.executemany("INSERT INTO execution VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def add_measurement(self, m: MeasurementEntry) -> int:
        """Note a measurement, and return its number."""
        values = (m.key, m.database, m.hints, m.judgement, m.speedup, m.low, m.high, m.default_ms, m.median_ms, m.pairs)
        row = (m.at or time.time(), *values, m.digest, m.source, m.catalog_version, m.server_version)
        with self._writing():
            marks = ", ".join("?" * len(row))
            return int(self._db.execute(f"INSERT INTO measurement VALUES (NULL, {marks})", row).lastrowid or 0)

    def decide(self, d: DecisionEntry) -> None:
        """Note a decision: the newest of a query and database holds."""
        row = (d.at or time.time(), d.key, d.database, d.action, d.hints, d.reason, d.measurement)
        with self._writing():
            self._db.execute("INSERT INTO decision VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)

    def query(self, key: str) -> QueryEntry | None:
        """Return a query by its key."""
        found = self._read("SELECT key, fingerprint, literals, sql, dialect, name FROM query WHERE key = ?", (key,))
        return _query_entry(found[0]) if found else None

    def queries(self, *, fingerprint: str | None = None) -> list[QueryEntry]:
        """Return all queries, or those of a template, in the order they were first seen."""
        where, values = ("", ()) if fingerprint is None else (" WHERE fingerprint = ?", (fingerprint,))
        columns = "key, fingerprint, literals, sql, dialect, name"
        return [_query_entry(row) for row in self._read(f"SELECT {columns} FROM query{where} ORDER BY rowid", values)]

    def measurements(
        self, *, key: str | None = None, database: str | None = None, after: int = 0
    ) -> list[MeasurementEntry]:
        """Return measurements in the order they were made, those with a number above `after`."""
        where, values = _where({"key": key, "database": database})
        columns = (
            "key, database, hints, judgement, speedup, low, high, default_ms, median_ms, pairs, digest, source, "
            "catalog_version, server_version, at, id"
        )
        rows = self._read(f"SELECT {columns} FROM measurement WHERE id > ?{where} ORDER BY id", (after, *values))
        return [MeasurementEntry(*row) for row in rows]

    def executions(self, *, key: str | None = None, database: str | None = None) -> list[ExecutionEntry]:
        """Return executions in the order they were made."""
        where, values = _where({"key": key, "database": database})
        columns = "key, database, hints, latency_ms, timed_out, num_rows, digest, purpose, at"
        rows = self._read(f"SELECT {columns} FROM execution WHERE 1{where} ORDER BY id", values)
        return [replace(ExecutionEntry(*row), timed_out=bool(row[4])) for row in rows]

    def decisions(self, *, key: str | None = None, database: str | None = None) -> list[DecisionEntry]:
        """Return decisions in the order they were taken."""
        where, values = _where({"key": key, "database": database})
        columns = "key, database, action, hints, reason, measurement, at, id"
        rows = self._read(f"SELECT {columns} FROM decision WHERE 1{where} ORDER BY id", values)
        return [DecisionEntry(*row) for row in rows]

    def served(self, database: str, *, after: int = 0) -> dict[str, DecisionEntry]:
        """Return by query key the decision that holds, of queries decided on after a decision's number."""
        columns = "key, database, action, hints, reason, measurement, at, id"
        rows = self._read(
            f"SELECT {columns} FROM decision WHERE id IN (SELECT max(id) FROM decision WHERE database = ? GROUP BY key) "
            "AND id > ?",
            (database, after),
        )
        return {row[0]: DecisionEntry(*row) for row in rows}

    def decision_mark(self) -> tuple[int, int]:
        """Return two numbers that change whenever a decision is added or forgotten."""
        newest, count = self._read("SELECT coalesce(max(id), 0), count(*) FROM decision")[0]
        return newest, count

    def counts(self) -> dict[str, int]:
        """Return how many entries of each kind there are."""
        return {
            table: self._read(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("query", "execution", "measurement", "decision")
        }

    def note(self, name: str, value: str | None = None) -> str | None:
        """Return what was noted under a name; with a value, note it. For what is made from the journal, e.g. an index."""
        if value is not None:
            with self._writing():
                self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
            return value
        found = self._read("SELECT value FROM note WHERE name = ?", (name,))
        return found[0][0] if found else None

    def forget(self, keys: Sequence[str]) -> int:
        """Delete queries and all that is known of them, and return how many there were."""
        count = 0
        with self._writing():
            for key in keys:
                for table in ("decision", "measurement", "execution"):
                    self._db.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
                count += self._db.execute("DELETE FROM query WHERE key = ?", (key,)).rowcount
        return count

    def close(self) -> None:
        """Close the file; may be called again."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            return self._db.execute(sql, values).fetchall()


def _where(equal: Mapping[str, str | None]) -> tuple[str, list[str]]:
    given = {name: value for name, value in equal.items() if value is not None}
    return "".join(f" AND {name} = ?" for name in given), list(given.values())


def _query_entry(row: Sequence[str]) -> QueryEntry:
    key, fingerprint, literals, sql, dialect, name = row
    return QueryEntry(key, fingerprint, tuple(json.loads(literals)), sql, dialect, name)
