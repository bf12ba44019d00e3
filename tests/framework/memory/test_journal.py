import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from entries import decision, execution, measurement, query
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis.errors import MemoryFileError
from trellis.memory.journal import Journal, query_key

HERE = str(Path(__file__).parent)


@pytest.fixture
def journal(tmp_path):
    with_queries = Journal(tmp_path / "memory.db")
    for number in range(3):
        with_queries.add_query(query(number), name=f"q{number}")
    yield with_queries
    with_queries.close()


def test_what_is_noted_is_read_back_by_the_next_to_open(journal):
    number = journal.add_measurement(measurement(1))
    journal.add_execution(execution(1))
    journal.decide(decision(1, "serve", measurement=number))
    journal.close()
    again = Journal(journal.path)
    entry = again.query(query_key(query(1)))
    assert (entry.name, entry.literals, entry.sql) == ("q1", query(1).literals, query(1).sql)
    assert again.measurements() == [replace(measurement(1), id=number)]
    assert again.executions() == [execution(1)]
    assert again.decisions() == [replace(decision(1, "serve", measurement=number), id=1)]
    assert again.counts() == {"query": 3, "execution": 1, "measurement": 1, "decision": 1}
    again.close()


def test_a_query_that_is_known_keeps_its_first_name(journal):
    assert journal.add_query(query(1), name="another") == query_key(query(1))
    assert [entry.name for entry in journal.queries()] == ["q0", "q1", "q2"]
    assert [entry.name for entry in journal.queries(fingerprint=query(1).fingerprint)] == ["q0", "q1", "q2"]
    assert journal.queries(fingerprint="none") == []


def test_the_newest_decision_of_each_query_holds_on_its_database(journal):
    journal.decide(decision(0, "serve"))
    journal.decide(decision(1, "serve"))
    journal.decide(decision(0, "withdraw"))
    journal.decide(decision(0, "keep default", database="other"))
    assert {entry.key: entry.action for entry in journal.served("shop").values()} == {
        query_key(query(0)): "withdraw",
        query_key(query(1)): "serve",
    }
    assert [entry.action for entry in journal.served("other").values()] == ["keep default"]
    assert list(journal.served("shop", after=2)) == [query_key(query(0))]
    assert journal.served("shop", after=3) == {}


def test_the_best_is_the_fastest_that_was_verified(journal):
    key = query_key(query(0))
    for judgement, speedup in (("slower", 0.5), ("undecided", 3.0), ("undecided", 0.9), ("wrong result", 0.0)):
        journal.add_measurement(measurement(0, judgement=judgement, speedup=speedup, hints=f"Set({speedup})"))
    assert journal.best("shop", [key])[key].speedup == 3.0
    first = journal.add_measurement(measurement(0, speedup=1.4, hints="HashJoin(a b)"))
    journal.add_measurement(measurement(0, speedup=1.2, hints="NestLoop(a b)"))
    journal.add_measurement(measurement(0, speedup=1.4, hints="MergeJoin(a b)"))
    journal.add_measurement(measurement(0, speedup=9.0, database="other"))
    assert journal.best("shop", [key, "unknown"]) == {
        key: replace(measurement(0, speedup=1.4, hints="HashJoin(a b)"), id=first)
    }
    assert journal.measured_keys("shop") == [key]


def test_of_the_same_hints_the_newest_measurement_counts(journal):
    key = query_key(query(0))
    journal.add_measurement(measurement(0, speedup=9.0))
    other = journal.add_measurement(measurement(0, speedup=1.5, hints="HashJoin(a b)"))
    journal.add_measurement(measurement(0, judgement="slower", speedup=0.7))
    assert journal.best("shop", [key])[key].id == other
    again = journal.add_measurement(measurement(0, speedup=2.0))
    assert journal.best("shop", [key])[key].id == again


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["faster", "slower", "undecided"]),
            st.floats(0, 10),
            st.sampled_from(["serve", "withdraw"]),
            st.sampled_from(["HashJoin(a b)", "NestLoop(a b)"]),
        )
    )
)
def test_what_is_kept_along_equals_what_follows_from_all_entries(entries):
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(Path(directory) / "memory.db")
        for number in range(3):
            journal.add_query(query(number))
        for number, judgement, speedup, action, hints in entries:
            journal.add_measurement(measurement(number, judgement=judgement, speedup=speedup, hints=hints))
            journal.decide(decision(number, action))
        best = {}
        for m in sorted({(m.key, m.hints): m for m in journal.measurements()}.values(), key=lambda m: m.id):
            worth = m.speedup if m.judgement == "faster" else min(m.speedup, 1.0)
            if m.key not in best or worth > best[m.key][0]:
                best[m.key] = (worth, m)
        assert journal.best("shop", journal.measured_keys("shop")) == {key: m for key, (_, m) in best.items()}
        assert journal.served("shop") == {entry.key: entry for entry in journal.decisions()}
        journal.close()


def test_forgetting_deletes_all_that_is_known_of_a_query_and_nothing_else(journal):
    for number in (0, 1):
        made = journal.add_measurement(measurement(number))
        journal.add_execution(execution(number))
        journal.decide(decision(number, "serve", measurement=made))
    assert journal.forget([query_key(query(1)), "unknown"]) == 1
    assert journal.counts() == {"query": 2, "execution": 1, "measurement": 1, "decision": 1}
    assert list(journal.served("shop")) == journal.measured_keys("shop") == [query_key(query(0))]


def test_numbers_that_were_forgotten_do_not_come_back(journal):
    journal.decide(decision(0, "serve"))
    mark = journal.decision_mark()
    journal.forget([query_key(query(0))])
    forgotten = journal.decision_mark()
    journal.decide(decision(1, "serve"))
    assert len({mark, forgotten, journal.decision_mark()}) == 3
    assert list(journal.served("shop", after=1)) == [query_key(query(1))]


def test_an_entry_of_an_unknown_query_is_refused(journal):
    with pytest.raises(ValueError, match="its query or measurement is not in it; give it to add_query first"):
        journal.add_measurement(measurement(7))
    with pytest.raises(ValueError, match="a value is missing; NaN counts as no value"):
        journal.add_measurement(measurement(0, speedup=float("nan")))
    assert journal.measurements() == []


def test_several_executions_are_noted_all_or_none(journal):
    with pytest.raises(ValueError):
        journal.add_executions([execution(0), execution(7)])
    assert journal.executions() == []


def test_a_note_is_replaced(journal):
    assert journal.note("index") is None
    journal.note("index", "1")
    assert journal.note("index", "2") == journal.note("index") == "2"


def write_many(path, worker, count):
    journal = Journal(path)
    for number in range(count):
        journal.add_query(query(number))
        journal.add_measurement(measurement(number, database=f"w{worker}"))
    journal.close()


def test_processes_that_open_and_write_one_file_at_once_lose_nothing(tmp_path):
    path = tmp_path / "memory.db"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_many, args=(path, worker, 25)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    journal = Journal(path)
    assert journal.counts()["query"] == 25
    for worker in range(4):
        keys = [m.key for m in journal.measurements(database=f"w{worker}")]
        assert keys == [query_key(query(number)) for number in range(25)]
    journal.close()


WRITE_FOR_EVER = """
import sys
from entries import measurement, query
from trellis.memory.journal import Journal
journal = Journal(sys.argv[1])
journal.add_query(query(0))
while True:
    print(journal.add_measurement(measurement(0)), flush=True)
"""


def test_a_process_killed_while_it_writes_loses_nothing_that_returned(tmp_path):
    path = tmp_path / "memory.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(path)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": HERE},
    )  # fmt: skip
    told = [int(process.stdout.readline()) for _ in range(50)]
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    told += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    journal = Journal(path)
    kept = [m.id for m in journal.measurements()]
    assert kept[: len(told)] == told == list(range(1, len(told) + 1))
    assert len(kept) <= len(told) + 1
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    journal.add_measurement(measurement(0))
    journal.close()


VERSION_1 = """
CREATE TABLE query (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, literals TEXT NOT NULL, sql TEXT NOT NULL,
    dialect TEXT NOT NULL, name TEXT NOT NULL, first_seen REAL NOT NULL);
CREATE TABLE execution (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query,
    database TEXT NOT NULL, hints TEXT NOT NULL, latency_ms REAL NOT NULL, timed_out INTEGER NOT NULL, num_rows INTEGER,
    digest TEXT, purpose TEXT NOT NULL);
CREATE TABLE measurement (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, key TEXT NOT NULL REFERENCES query,
    database TEXT NOT NULL, hints TEXT NOT NULL, judgement TEXT NOT NULL, speedup REAL NOT NULL, low REAL, high REAL,
    default_ms REAL, median_ms REAL, pairs INTEGER NOT NULL, digest TEXT, source TEXT NOT NULL, catalog_version TEXT NOT NULL,
    server_version INTEGER NOT NULL);
CREATE TABLE best (database TEXT NOT NULL, key TEXT NOT NULL REFERENCES query, measurement INTEGER NOT NULL,
    worth REAL NOT NULL, PRIMARY KEY (database, key)) WITHOUT ROWID;
CREATE TRIGGER keep_best AFTER INSERT ON measurement BEGIN
    INSERT INTO best VALUES (NEW.database, NEW.key, NEW.id, NEW.speedup) ON CONFLICT (database, key)
    DO UPDATE SET measurement = excluded.measurement, worth = excluded.worth WHERE excluded.worth > best.worth; END;
INSERT INTO query VALUES ('k', 'f', '[]', 'SELECT 1', 'postgres', 'old', 1);
INSERT INTO measurement VALUES
    (NULL, 1, 'k', 'shop', 'h', 'faster', 9, 8, 10, 9, 1, 5, 'd', 'arms', 'c', 180004),
    (NULL, 2, 'k', 'shop', 'h', 'slower', 0.5, 0.4, 0.6, 9, 18, 5, 'd', 'verify', 'c', 180004),
    (NULL, 3, 'k', 'shop', 'g', 'faster', 2, 1.5, 3, 9, 4, 5, 'd', 'arms', 'c', 180004);
PRAGMA application_id = 1414679626;
PRAGMA user_version = 1;
"""


def test_a_file_of_the_first_version_is_brought_up_to_this_one(tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as db:
        db.executescript(VERSION_1)
    db.close()
    for _ in range(2):
        journal = Journal(tmp_path / "old.db")
        assert [m.speedup for m in journal.measurements()] == [9, 0.5, 2]
        assert journal.measurements()[0].reason == journal.measurements()[0].ground == ""
        assert journal.best("shop", ["k"])["k"].hints == "g"
        journal.close()
    journal = Journal(tmp_path / "old.db")
    journal.add_measurement(
        replace(measurement(0, key="k", hints="g", judgement="failed", speedup=0), reason="said so")
    )
    assert (journal.best("shop", ["k"])["k"].speedup, journal.measurements()[-1].reason) == (0.5, "said so")
    journal.close()


def test_a_later_version_is_refused_and_left_as_it_is(journal):
    journal.close()
    with sqlite3.connect(journal.path) as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(MemoryFileError, match="version 3 of the format, not 2; a later Trellis wrote it"):
        Journal(journal.path)


def test_another_programs_sqlite_file_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.execute("PRAGMA user_version = 1")
    db.close()
    before = path.read_bytes()
    with pytest.raises(MemoryFileError, match="another program's SQLite file"):
        Journal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database at all, but a text that is long enough to be told apart" * 9, None]
)
def test_what_is_no_sqlite_file_is_refused(tmp_path, content):
    path = tmp_path / "memory.db"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(MemoryFileError, match="cannot be used as a memory"):
        Journal(path)


OPEN_AS_NOBODY = """
import os, sys
from trellis.errors import MemoryFileError
from trellis.memory.journal import Journal
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    Journal(sys.argv[1])
except MemoryFileError as error:
    print(error)
"""


def test_a_file_that_may_only_be_read_is_refused(journal):
    journal.close()
    directory = Path(tempfile.mkdtemp())
    try:
        path = directory / "memory.db"
        shutil.copy(journal.path, path)
        path.chmod(0o444)
        directory.chmod(0o555)
        said = subprocess.run(
            [sys.executable, "-c", OPEN_AS_NOBODY, str(path)], capture_output=True, text=True, check=True
        ).stdout
    finally:
        directory.chmod(0o755)
        shutil.rmtree(directory)
    assert "cannot be used as a memory" in said
    assert "readonly" in said or "unable to open" in said


def test_a_journal_is_closed_twice_and_then_says_so(journal):
    journal.close()
    journal.close()
    with pytest.raises(MemoryFileError, match="closed"):
        journal.queries()
