"""The store: records in a SQLite file, their vectors in a matrix that follows the file.

A record that is replaced gets a new number, and what is deleted is listed in `gone`: a process reads what has a higher number
than it knows, and takes out what was listed since. `epoch` changes where that does not lead from the old to the new, and the
matrix is read anew. `field` finds the records that may fulfil a condition, by a hash of each name and value.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from trellis.contracts.store import Match, Record, RetrievalStore, check_vector, fits
from trellis.errors import MemoryFileError
from trellis.types import JSON
from trellis_sqlite.config import SQLiteConfig
from trellis_sqlite.matrix import Matrix

_APPLICATION = 0x5452_4C56
"""Tells a store from other SQLite files: "TRLV"."""

_VERSION = 2
_BUSY_S = 30.0
_GONE_AT_MOST = 100_000
_AT_ONCE = 900
_LOADED_AT_ONCE = 2000
_OTHERS = "it is another program's SQLite file, not a store. Name another."
_REBUILD = "`trellis sql rebuild` sets it aside and fills a new one from the journal."
_FEW = 2000
"""Of a condition that more records fulfil, the first ones that are near enough are found soon anyway."""

_FIELDS = (
    "CREATE TABLE field (hash INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (hash, number)) WITHOUT ROWID",
    "CREATE INDEX field_number ON field (number)",
    "CREATE TRIGGER drop_fields AFTER DELETE ON record BEGIN DELETE FROM field WHERE number = OLD.number; END",
)
_SCHEMA = (
    """CREATE TABLE record (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, data TEXT NOT NULL, vector BLOB NOT NULL
)""",
    "CREATE TABLE gone (place INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL)",
    "CREATE TRIGGER keep_gone AFTER DELETE ON record BEGIN INSERT INTO gone (number) VALUES (OLD.number); END",
    "CREATE TABLE state (epoch INTEGER NOT NULL, dimension INTEGER)",
    "INSERT INTO state VALUES (0, NULL)",
    *_FIELDS,
)


class SQLiteStore(RetrievalStore):
    """An exact store. Usable from several threads and processes.

    Args:
        config: Where the records are.

    Raises:
        MemoryFileError: The file is no store, is of a later version, or cannot be opened.
    """

    Config = SQLiteConfig

    def __init__(self, config: SQLiteConfig) -> None:
        self.config = config
        self.path = Path(config.path).expanduser()
        self._lock = threading.RLock()
        self._matrix = Matrix(0)
        self._epoch, self._number, self._place = -1, 0, 0
        try:
            in_memory = config.path == ":memory:"
            if not in_memory:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                ":memory:" if in_memory else self.path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None
            )
        except (sqlite3.Error, OSError) as error:
            raise MemoryFileError(self.path, reason=str(error)) from error
        try:
            self._prepare(in_memory)
        except sqlite3.Error as error:
            self._db.close()
            raise MemoryFileError(self.path, reason=_said(error)) from error
        except MemoryFileError:
            self._db.close()
            raise

    @classmethod
    def set_aside(cls, config: SQLiteConfig) -> Path | None:
        """Rename the file, and return its new path; None where there is none.

        Raises:
            MemoryFileError: It is another program's SQLite file.
        """
        path = Path(config.path).expanduser()
        if config.path == ":memory:" or not path.exists():
            return None
        try:
            cls(config).close()
        except MemoryFileError as error:
            if _OTHERS in str(error):
                raise
        moved = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        for end in ("", "-wal", "-shm"):
            if path.with_name(path.name + end).exists():
                path.with_name(path.name + end).rename(moved.with_name(moved.name + end))
        return moved

    def add(self, records: Sequence[Record]) -> None:
        """Add records, replacing those with the same id: all or none."""
        rows = {}
        for record in records:
            data = json.dumps(dict(record.data), ensure_ascii=False, allow_nan=False)
            rows[record.id] = (record.id, data, record.vector)
        with self._transaction("IMMEDIATE") as db:
            (dimension,) = db.execute("SELECT dimension FROM state").fetchone()
            for record in records:
                check_vector(record.vector, dimension, whose=f"record {record.id!r}")
                dimension = len(record.vector)
            if not rows:
                return
            db.execute("UPDATE state SET dimension = ?", (dimension,))
            db.executemany("DELETE FROM record WHERE id = ?", [(id_,) for id_ in rows])
            pack = struct.Struct(f"<{dimension}f").pack
            db.executemany(
                "INSERT INTO record (id, data, vector) VALUES (?, ?, ?)",
                [(id_, data, _packed(pack, vector, id_)) for id_, data, vector in rows.values()],
            )
            (newest,) = db.execute("SELECT max(number) FROM record").fetchone()
            self._add_fields(db, above=newest - len(rows))

    def query(self, vector: Sequence[float], k: int, where: Mapping[str, JSON] | None = None) -> list[Match]:
        """Return the `k` most similar records whose data equal `where`, most similar first."""
        if k < 1:
            return []
        found: list[tuple[int, float]] = []
        with self._transaction("DEFERRED") as db:
            dimension = self._follow(db)
            check_vector(vector, dimension, whose="the query")
            among = self._few(db, where) if where else None
            for portion in self._matrix.nearest(vector, max(64, 4 * k) if where else k, among):
                found += self._fitting(db, portion, where) if where else portion
                if len(found) >= k:
                    break
            records = {
                number: _record(*row)
                for number, *row in self._rows(db, "id, vector, data", [number for number, _ in found[:k]])
            }
        return [Match(records[number], cosine) for number, cosine in found[:k]]

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, None where there is none."""
        found: dict[str, Record] = {}
        with self._transaction("DEFERRED") as db:
            for first in range(0, len(ids), _AT_ONCE):
                some = ids[first : first + _AT_ONCE]
                marks = ", ".join("?" * len(some))
                for row in db.execute(f"SELECT id, vector, data FROM record WHERE id IN ({marks})", some):
                    found[row[0]] = _record(*row)
        return [found.get(id_) for id_ in ids]

    def delete(self, ids: Sequence[str]) -> int:
        """Forget these ids and return how many there were."""
        with self._transaction("IMMEDIATE") as db:
            count = sum(db.execute("DELETE FROM record WHERE id = ?", (id_,)).rowcount for id_ in ids)
            first, last = db.execute("SELECT coalesce(min(place), 0), coalesce(max(place), 0) FROM gone").fetchone()
            if last - first > _GONE_AT_MOST:
                self._start_epoch(db)
        return count

    def clear(self) -> None:
        """Forget all records; vectors of another length may come next."""
        with self._transaction("IMMEDIATE") as db:
            db.execute("DELETE FROM record")
            db.execute("UPDATE state SET dimension = NULL")
            self._start_epoch(db)

    def count(self) -> int:
        """Return how many records there are."""
        with self._transaction("DEFERRED") as db:
            return int(db.execute("SELECT count(*) FROM record").fetchone()[0])

    def rebuild(self) -> None:
        """Read the matrix anew from the file, in every process."""
        with self._transaction("IMMEDIATE") as db:
            self._start_epoch(db)

    def close(self) -> None:
        """Close the file; may be called again."""
        with self._lock:
            self._db.close()
            self._matrix = Matrix(0)

    def _prepare(self, in_memory: bool) -> None:
        # Before anything is written: somebody else's file stays as it is. In one transaction: between two reads another
        # process may make the file a store.
        with self._transaction("DEFERRED"):
            self._check()
        if not in_memory:
            _write_ahead(self._db)
            self._db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction("IMMEDIATE") as db:
            version = self._check()
            if version != _VERSION:
                for statement in _FIELDS if version else _SCHEMA:
                    db.execute(statement)
                self._add_fields(db, above=0)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {_VERSION}")

    def _check(self) -> int:
        """Return the file's version, 0 where it is still empty; one that is neither empty nor a store is refused."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            return 0
        if application != _APPLICATION:
            raise MemoryFileError(self.path, reason=_OTHERS)
        if not 1 <= version <= _VERSION:
            raise MemoryFileError(
                self.path, reason=f"it has version {version} of the format, not {_VERSION}. {_REBUILD}"
            )
        return int(version)

    def _follow(self, db: sqlite3.Connection) -> int | None:
        """Bring the matrix up to the file, and return the length of its vectors."""
        epoch, dimension = db.execute("SELECT epoch, dimension FROM state").fetchone()
        if epoch != self._epoch:
            self._matrix = Matrix(dimension or 0)
            self._epoch, self._number = epoch, 0
            (self._place,) = db.execute("SELECT coalesce(max(place), 0) FROM gone").fetchone()
        rows = db.execute("SELECT number, vector FROM record WHERE number > ? ORDER BY number", (self._number,))
        if self._number == 0:
            # It may have been made before the store had its first vectors.
            self._matrix = Matrix(dimension or 0)
            self._matrix.reserve(db.execute("SELECT count(*) FROM record").fetchone()[0])
        while some := rows.fetchmany(_LOADED_AT_ONCE):
            self._matrix.append([number for number, _ in some], [vector for _, vector in some])
            self._number = some[-1][0]
        gone = db.execute("SELECT place, number FROM gone WHERE place > ? ORDER BY place", (self._place,)).fetchall()
        if gone:
            self._matrix.remove([number for _, number in gone])
            self._place = gone[-1][0]
        return dimension  # type: ignore[no-any-return]

    def _start_epoch(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM gone")
        db.execute("UPDATE state SET epoch = epoch + 1")

    def _add_fields(self, db: sqlite3.Connection, *, above: int) -> None:
        """Note the fields of records with higher numbers."""
        rows = db.execute("SELECT number, data FROM record WHERE number > ?", (above,))
        while some := rows.fetchmany(_LOADED_AT_ONCE):
            fields = [(_hash(name, v), number) for number, data in some for name, v in json.loads(data).items()]
            db.executemany("INSERT OR IGNORE INTO field VALUES (?, ?)", fields)

    def _few(self, db: sqlite3.Connection, where: Mapping[str, JSON]) -> list[int] | None:
        """Return the numbers of the records that may fulfil a condition; None where they are many."""
        one = "SELECT number FROM field WHERE hash = ?"
        sql = f"{' INTERSECT '.join([one] * len(where))} LIMIT {_FEW + 1}"
        rows = db.execute(sql, [_hash(name, value) for name, value in where.items()]).fetchall()
        return [number for (number,) in rows] if len(rows) <= _FEW else None

    def _fitting(
        self, db: sqlite3.Connection, portion: Sequence[tuple[int, float]], where: Mapping[str, JSON]
    ) -> list[tuple[int, float]]:
        rows = self._rows(db, "data", [number for number, _ in portion])
        fitting = {number for number, data in rows if fits(json.loads(data), where)}
        return [(number, cosine) for number, cosine in portion if number in fitting]

    def _rows(self, db: sqlite3.Connection, columns: str, numbers: Sequence[int]) -> Iterator[tuple]:  # type: ignore[type-arg]
        for first in range(0, len(numbers), _AT_ONCE):
            some = numbers[first : first + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            yield from db.execute(f"SELECT number, {columns} FROM record WHERE number IN ({marks})", some)

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute(f"BEGIN {mode}")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise MemoryFileError(self.path, reason=_said(error)) from error


def _said(error: sqlite3.Error) -> str:
    damaged = getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return f"{error}. {_REBUILD}" if damaged else str(error)


def _hash(name: str, value: JSON) -> int:
    """Return what is equal where `fits` takes names and values for equal."""
    text = json.dumps([name, _even(value)], sort_keys=True, ensure_ascii=False, allow_nan=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _even(value: JSON) -> JSON:
    """Return a value with its whole numbers as integers: 1.0 equals 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _even(each) for key, each in value.items()}
    return [_even(each) for each in value] if isinstance(value, list | tuple) else value


def _packed(pack: object, vector: Sequence[float], id_: str) -> bytes:
    try:
        return pack(*vector)  # type: ignore[operator, no-any-return]
    except OverflowError:
        raise ValueError(f"the vector of record {id_!r} holds a number that is too large for 32 bits") from None


def _record(id_: str, vector: bytes, data: str) -> Record:
    return Record(id_, struct.unpack(f"<{len(vector) // 4}f", vector), json.loads(data))


def _write_ahead(db: sqlite3.Connection) -> None:
    # The switch does not wait for a lock as other statements do, so that processes that open a new file at once fail.
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)
