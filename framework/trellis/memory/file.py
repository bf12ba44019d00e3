"""The journal's SQLite file: its tables, how it is opened, and one writer at a time.

`best` and `holding` are kept by triggers in the same transaction as what they follow from, so that no reader need read it all.
A write is committed before `writing` ends: killing the process loses nothing. A power cut may lose the last writes (SQLite's
`synchronous = NORMAL`), and never damages the file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trellis.errors import MemoryFileError

VERSION = 2
APPLICATION = 0x54524C4A
"""Tells a journal from other SQLite files: "TRLJ"."""

_BUSY_S = 30.0
# Of the same hints the newest measurement counts: what was fast once may not be any more. Only what was verified to be faster
# counts as faster; of equals, the first is the best. With max(), SQLite takes the other columns from the row that has it.
_BEST = """SELECT database, key, id, worth FROM (
    SELECT database, key, max(id) AS id, CASE judgement WHEN 'faster' THEN speedup ELSE min(speedup, 1.0) END AS worth
    FROM measurement WHERE {} GROUP BY database, key, hints
)"""
_KEEP_BEST = f"""CREATE TRIGGER keep_best AFTER INSERT ON measurement BEGIN
    INSERT OR REPLACE INTO best
    {_BEST.format("key = NEW.key AND database = NEW.database")} ORDER BY worth DESC, id LIMIT 1;
END"""
_SCHEMA = (
    """CREATE TABLE query (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, literals TEXT NOT NULL, sql TEXT NOT NULL, dialect TEXT NOT NULL,
    name TEXT NOT NULL, first_seen REAL NOT NULL
)""",
    "CREATE INDEX query_fingerprint ON query (fingerprint)",
    # AUTOINCREMENT: a number that was forgotten never comes back, so that "after number n" misses nothing.
    """CREATE TABLE execution (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query, database TEXT NOT NULL,
    hints TEXT NOT NULL, latency_ms REAL NOT NULL, timed_out INTEGER NOT NULL, num_rows INTEGER, digest TEXT,
    purpose TEXT NOT NULL
)""",
    "CREATE INDEX execution_key ON execution (key, database)",
    """CREATE TABLE measurement (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query, database TEXT NOT NULL,
    hints TEXT NOT NULL, judgement TEXT NOT NULL, speedup REAL NOT NULL, low REAL, high REAL, default_ms REAL,
    median_ms REAL, pairs INTEGER NOT NULL, digest TEXT, source TEXT NOT NULL, catalog_version TEXT NOT NULL,
    server_version INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '', ground TEXT NOT NULL DEFAULT ''
)""",
    "CREATE INDEX measurement_key ON measurement (key, database)",
    """CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query, database TEXT NOT NULL,
    action TEXT NOT NULL, hints TEXT NOT NULL, reason TEXT NOT NULL, measurement INTEGER REFERENCES measurement
)""",
    "CREATE INDEX decision_key ON decision (key, database, id)",
    "CREATE INDEX decision_measurement ON decision (measurement)",
    "CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE best (
    database TEXT NOT NULL, key TEXT NOT NULL REFERENCES query, measurement INTEGER NOT NULL, worth REAL NOT NULL,
    PRIMARY KEY (database, key)
) WITHOUT ROWID""",
    "CREATE INDEX best_key ON best (key)",
    _KEEP_BEST,
    """CREATE TABLE holding (
    database TEXT NOT NULL, key TEXT NOT NULL REFERENCES query, decision INTEGER NOT NULL, PRIMARY KEY (database, key)
) WITHOUT ROWID""",
    "CREATE INDEX holding_decision ON holding (database, decision)",
    "CREATE INDEX holding_key ON holding (key)",
    """CREATE TRIGGER keep_holding AFTER INSERT ON decision BEGIN
    INSERT INTO holding VALUES (NEW.database, NEW.key, NEW.id)
    ON CONFLICT (database, key) DO UPDATE SET decision = excluded.decision;
END""",
)


_UPGRADE = (
    "ALTER TABLE measurement ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE measurement ADD COLUMN ground TEXT NOT NULL DEFAULT ''",
    "DROP TRIGGER keep_best",
    _KEEP_BEST,
    # In this order the row that is put last, and stays, is the best.
    f"INSERT OR REPLACE INTO best {_BEST.format('1')} ORDER BY worth, id DESC",
)
"""From version 1 to 2."""


class JournalFile:
    """An open journal's connection. Usable from several threads.

    Args:
        path: The file, made if it is not there; one of an earlier version is brought up to this one.

    Raises:
        MemoryFileError: The file is no journal, is of a later version, or cannot be opened and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise MemoryFileError(path, reason=str(error)) from error
        try:
            # Before anything is written: somebody else's file stays as it is.
            # In one transaction: between two reads another process may make the file a journal.
            self._db.execute("BEGIN")
            try:
                self._check()
            finally:
                self._db.execute("ROLLBACK")
            _write_ahead(self._db)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self.writing() as db:
                version = self._check()
                if version != VERSION:
                    for statement in _UPGRADE if version else _SCHEMA:
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            self._db.close()
            raise MemoryFileError(path, reason=str(error)) from error
        except MemoryFileError:
            self._db.close()
            raise

    def _check(self) -> int:
        """Return the file's version, 0 where it is still empty; one that is neither empty nor a journal is refused."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            return 0
        if application != APPLICATION:
            raise MemoryFileError(self.path, reason="it is another program's SQLite file, not a journal. Name another.")
        if not 1 <= version <= VERSION:
            mend = "a later Trellis wrote it: install that one." if version > VERSION else "name another file."
            raise MemoryFileError(self.path, reason=f"it has version {version} of the format, not {VERSION}; {mend}")
        return int(version)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction: all is kept when the block ends, and nothing where it raises.

        Raises:
            ValueError: An entry names a query that is not there, or lacks a value.
            MemoryFileError: The file cannot be written, e.g. because the disk is full.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.IntegrityError as error:
                mend = "give it to add_query first" if "FOREIGN KEY" in str(error) else "NaN counts as no value"
                raise ValueError(f"the journal refuses this entry ({error}): {_known(error)}; {mend}") from error
            except sqlite3.Error as error:
                raise MemoryFileError(self.path, reason=str(error)) from error

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        """Return the rows of a SELECT.

        Raises:
            MemoryFileError: The file cannot be read.
        """
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise MemoryFileError(self.path, reason=str(error)) from error

    def close(self) -> None:
        """Close the file; may be called again."""
        with self._lock:
            self._db.close()


def _known(error: sqlite3.IntegrityError) -> str:
    return "its query or measurement is not in it" if "FOREIGN KEY" in str(error) else "a value is missing"


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
