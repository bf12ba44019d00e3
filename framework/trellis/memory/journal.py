"""The journal: everything that was executed, measured and decided, append-only, in one SQLite file.

It is the truth. Vector indexes, statistics and what is served are read from it and can be made anew at any time. Every entry
is committed before `add_…` returns, so a process that is killed loses nothing that it was told is kept; several processes may
write at once (SQLite's write-ahead log). Nothing is ever changed; `forget` alone deletes, for people who ask for it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from trellis.memory.file import JournalFile

if TYPE_CHECKING:
    from trellis.sql.query import Query

Action: TypeAlias = Literal["serve", "withdraw", "keep default"]

_FORGOTTEN = "queries forgotten"
_AT_ONCE = 900
"""Keys in one statement; old SQLites take 999 values."""

_MEASUREMENT = (
    "m.key, m.database, m.hints, m.judgement, m.speedup, m.low, m.high, m.default_ms, m.median_ms, m.pairs, m.digest, "
    "m.source, m.catalog_version, m.server_version, m.at, m.id, m.reason, m.ground"
)
_DECISION = "d.key, d.database, d.action, d.hints, d.reason, d.measurement, d.at, d.id"


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
        reason: Why it failed, e.g. a time-out or what the database said; empty where it did not.
        ground: What it rests on beside the schema, as `trellis.memory.drift` writes it; empty where nobody knows.
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
    reason: str = ""
    ground: str = ""


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


def newest(measurements: Iterable[MeasurementEntry]) -> list[MeasurementEntry]:
    """Return of measurements of one query, in order, those that count: of the same hints the newest, in order of these."""
    return sorted({m.hints: m for m in measurements}.values(), key=lambda m: m.id)


class Journal:
    """An open journal. Usable from several threads.

    Args:
        path: The file, made if it is not there.

    Raises:
        MemoryFileError: The file is no journal, is of a later version, or cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._file = JournalFile(self.path)

    def add_query(self, query: Query, *, name: str = "") -> str:
        """Note a query unless it is known, and return its key."""
        key = query_key(query)
        if self._file.read("SELECT 1 FROM query WHERE key = ?", (key,)):
            return key
        literals = json.dumps(query.literals, ensure_ascii=False)
        row = (key, query.fingerprint, literals, query.sql, query.dialect, name, time.time())
        with self._file.writing() as db:
            db.execute("INSERT OR IGNORE INTO query VALUES (?, ?, ?, ?, ?, ?, ?)", row)
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
        with self._file.writing() as db:
            db.executemany("INSERT INTO execution VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def add_measurement(self, m: MeasurementEntry) -> int:
        """Note a measurement, and return its number."""
        values = (m.key, m.database, m.hints, m.judgement, m.speedup, m.low, m.high, m.default_ms, m.median_ms, m.pairs)
        made = (m.digest, m.source, m.catalog_version, m.server_version, m.reason, m.ground)
        row = (m.at or time.time(), *values, *made)
        with self._file.writing() as db:
            marks = ", ".join("?" * len(row))
            return int(db.execute(f"INSERT INTO measurement VALUES (NULL, {marks})", row).lastrowid or 0)

    def decide(self, d: DecisionEntry) -> None:
        """Note a decision: the newest of a query and database holds."""
        row = (d.at or time.time(), d.key, d.database, d.action, d.hints, d.reason, d.measurement)
        with self._file.writing() as db:
            db.execute("INSERT INTO decision VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)

    def query(self, key: str) -> QueryEntry | None:
        """Return a query by its key."""
        found = self._file.read(
            "SELECT key, fingerprint, literals, sql, dialect, name FROM query WHERE key = ?", (key,)
        )
        return _query_entry(found[0]) if found else None

    def queries(self, *, fingerprint: str | None = None) -> list[QueryEntry]:
        """Return all queries, or those of a template, in the order they were first seen."""
        where, values = ("", ()) if fingerprint is None else (" WHERE fingerprint = ?", (fingerprint,))
        columns = "key, fingerprint, literals, sql, dialect, name"
        return [
            _query_entry(row) for row in self._file.read(f"SELECT {columns} FROM query{where} ORDER BY rowid", values)
        ]

    def measurements(
        self, *, key: str | None = None, database: str | None = None, after: int = 0
    ) -> list[MeasurementEntry]:
        """Return measurements in the order they were made, those with a number above `after`."""
        where, values = _where({"key": key, "database": database})
        rows = self._file.read(
            f"SELECT {_MEASUREMENT} FROM measurement m WHERE m.id > ?{where} ORDER BY m.id", (after, *values)
        )
        return [MeasurementEntry(*row) for row in rows]

    def best(self, database: str, keys: Sequence[str]) -> dict[str, MeasurementEntry]:
        """Return by query key the best that is known: the fastest of those judged "faster", else the nearest to the default.

        Of hints measured several times the newest measurement counts; of equals, the first is the best. Keys of which nothing
        was measured are left out.
        """
        found = {}
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            rows = self._file.read(
                f"SELECT {_MEASUREMENT} FROM best JOIN measurement m ON m.id = best.measurement "
                f"WHERE best.database = ? AND best.key IN ({', '.join('?' * len(some))})",
                (database, *some),
            )
            found.update({row[0]: MeasurementEntry(*row) for row in rows})
        return found

    def measured_keys(self, database: str) -> list[str]:
        """Return the keys of the queries of which something was measured, sorted."""
        return [key for (key,) in self._file.read("SELECT key FROM best WHERE database = ? ORDER BY key", (database,))]

    def executions(self, *, key: str | None = None, database: str | None = None) -> list[ExecutionEntry]:
        """Return executions in the order they were made."""
        where, values = _where({"key": key, "database": database})
        columns = "key, database, hints, latency_ms, timed_out, num_rows, digest, purpose, at"
        rows = self._file.read(f"SELECT {columns} FROM execution WHERE 1{where} ORDER BY id", values)
        return [replace(ExecutionEntry(*row), timed_out=bool(row[4])) for row in rows]

    def decisions(self, *, key: str | None = None, database: str | None = None) -> list[DecisionEntry]:
        """Return decisions in the order they were taken."""
        where, values = _where({"key": key, "database": database})
        rows = self._file.read(f"SELECT {_DECISION} FROM decision d WHERE 1{where} ORDER BY id", values)
        return [DecisionEntry(*row) for row in rows]

    def served(self, database: str, *, after: int = 0) -> dict[str, DecisionEntry]:
        """Return by query key the decision that holds, of queries decided on after a decision's number."""
        rows = self._file.read(
            f"SELECT {_DECISION} FROM holding JOIN decision d ON d.id = holding.decision "
            "WHERE holding.database = ? AND holding.decision > ? ORDER BY d.id",
            (database, after),
        )
        return {row[0]: DecisionEntry(*row) for row in rows}

    def decision_mark(self) -> tuple[int, int]:
        """Return two numbers that change whenever a decision is added or forgotten."""
        newest = self._file.read("SELECT seq FROM sqlite_sequence WHERE name = 'decision'")
        return (newest[0][0] if newest else 0), int(self.note(_FORGOTTEN) or 0)

    def counts(self) -> dict[str, int]:
        """Return how many entries of each kind there are."""
        return {
            table: self._file.read(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("query", "execution", "measurement", "decision")
        }

    def note(self, name: str, value: str | None = None) -> str | None:
        """Return what was noted under a name; with a value, note it. For what is made from the journal, e.g. an index."""
        if value is not None:
            with self._file.writing() as db:
                db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
            return value
        found = self._file.read("SELECT value FROM note WHERE name = ?", (name,))
        return found[0][0] if found else None

    def forget(self, keys: Sequence[str]) -> int:
        """Delete queries and all that is known of them, and return how many there were."""
        count = 0
        with self._file.writing() as db:
            before = int(self.note(_FORGOTTEN) or 0)
            for key in keys:
                for table in ("holding", "best", "decision", "measurement", "execution"):
                    db.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
                count += db.execute("DELETE FROM query WHERE key = ?", (key,)).rowcount
            db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (_FORGOTTEN, str(before + count)))
        return count

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()


def _where(equal: Mapping[str, str | None]) -> tuple[str, list[str]]:
    given = {name: value for name, value in equal.items() if value is not None}
    return "".join(f" AND {name} = ?" for name in given), list(given.values())


def _query_entry(row: Sequence[str]) -> QueryEntry:
    key, fingerprint, literals, sql, dialect, name = row
    return QueryEntry(key, fingerprint, tuple(json.loads(literals)), sql, dialect, name)
