import math
import multiprocessing
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import build
from trellis.contracts import Record
from trellis.contracts.store import fits
from trellis.errors import MemoryFileError
from trellis_sqlite.config import SQLiteConfig
from trellis_sqlite.store import SQLiteStore


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "vectors.db")


def record(number, *vector, **data):
    return Record(f"r{number}", vector or (1.0, float(number)), data)


def ids(matches):
    return [match.record.id for match in matches]


def test_what_another_instance_did_is_seen_by_the_next_query(path):
    one, other = build("sqlite", {"path": path}), build("sqlite", {"path": path})
    one.add([record(i) for i in range(4)])
    assert ids(other.query((0.0, 1.0), 1)) == ["r3"]
    one.delete(["r3"])
    assert ids(other.query((0.0, 1.0), 1)) == ["r2"]
    one.add([record(2, 1.0, -9.0)])
    assert ids(other.query((0.0, 1.0), 9)) == ["r1", "r0", "r2"]
    one.clear()
    assert other.query((0.0, 1.0), 1) == []
    one.add([record(7, 1.0, 2.0, 3.0)])
    assert ids(other.query((1.0, 2.0, 3.0), 1)) == ["r7"]
    one.rebuild()
    assert ids(other.query((1.0, 2.0, 3.0), 1)) == ["r7"]
    one.close()
    other.close()


def add_some(path, worker):
    store = build("sqlite", {"path": path})
    for number in range(20):
        store.add([Record(f"{worker}/{number}", (float(worker), float(number), 1.0), {})])
    store.close()


def test_processes_that_open_and_fill_one_file_at_once_lose_nothing(path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_some, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = build("sqlite", {"path": path})
    assert store.count() == len(store.query((1.0, 1.0, 1.0), 1000)) == 80
    store.close()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "clear", "rebuild", "query"]),
        st.integers(0, 5),
        st.tuples(st.integers(-3, 3), st.integers(-3, 3)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_it_finds_what_a_plain_dictionary_holds(actions):
    store, plain = build("sqlite"), {}
    for action, number, vector in actions:
        vector = tuple(map(float, vector))
        match action:
            case "add":
                store.add([record(number, *vector)])
                plain[f"r{number}"] = vector
            case "delete":
                assert store.delete([f"r{number}"]) == (plain.pop(f"r{number}", None) is not None)
            case "clear":
                store.clear()
                plain.clear()
            case "rebuild":
                store.rebuild()
        found = store.query((1.0, 0.5), 10)
        assert {match.record.id: match.record.vector for match in found} == plain
        for match in found:
            right = (
                math.cos(math.atan2(*match.record.vector[::-1]) - math.atan2(0.5, 1.0))
                if any(match.record.vector)
                else 0
            )
            assert match.similarity == pytest.approx(right, abs=1e-5)
    store.close()


def test_conditions_that_few_records_fulfil_are_searched_to_the_end():
    store = build("sqlite")
    store.add([record(i, 1.0, i / 1000, flag=i == 999) for i in range(1000)])
    assert ids(store.query((1.0, 0.0), 3, {"flag": True})) == ["r999"]
    assert store.query((1.0, 0.0), 3, {"flag": 1}) == []
    store.close()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e300, "", "1", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("xy"), VALUES, max_size=2), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from("xy"), VALUES, max_size=2),
)
def test_a_condition_finds_what_fits_and_nothing_else(data, where):
    store = build("sqlite")
    store.add([Record(f"r{i}", (1.0, float(i)), each) for i, each in enumerate(data)])
    wanted = {f"r{i}" for i, each in enumerate(data) if fits(each, where)}
    assert set(ids(store.query((1.0, 0.0), 9, where))) == wanted
    store.close()


def test_a_condition_that_many_fulfil_is_searched_in_the_order_of_likeness():
    store = build("sqlite")
    store.add([record(i, 1.0, i / 1000, even=i % 2 == 0) for i in range(5000)])
    store.delete(["r0"])
    store.add([record(4, 1.0, 0.004, even=False)])
    assert ids(store.query((1.0, 0.0), 3, {"even": True})) == ["r2", "r6", "r8"]
    store.close()


def test_the_nearest_of_many_are_those_that_comparing_with_each_finds():
    rng = np.random.default_rng(0)
    rows = rng.integers(-2, 3, size=(3000, 4)).astype(float)
    store = build("sqlite")
    store.add([Record(f"{i:04}", tuple(row), {}) for i, row in enumerate(rows.tolist())])
    lengths = np.linalg.norm(rows, axis=1)
    for k in (1, 7, 40, 2999):
        asked = rng.standard_normal(4)
        cosines = rows @ asked / np.where(lengths > 0, lengths, 1) / np.linalg.norm(asked)
        found = store.query(tuple(asked.tolist()), k)
        assert [m.similarity for m in found] == pytest.approx(np.sort(cosines)[::-1][:k], abs=1e-5)
        assert len({m.record.id for m in found}) == k
    store.close()


def test_a_file_of_the_first_version_is_brought_up_to_this_one(path):
    with sqlite3.connect(path) as db:
        db.executescript("""
            CREATE TABLE record (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, data TEXT NOT NULL,
                vector BLOB NOT NULL);
            CREATE TABLE gone (place INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL);
            CREATE TRIGGER keep_gone AFTER DELETE ON record BEGIN INSERT INTO gone (number) VALUES (OLD.number); END;
            CREATE TABLE state (epoch INTEGER NOT NULL, dimension INTEGER);
            INSERT INTO state VALUES (0, 1);
            INSERT INTO record VALUES (NULL, 'old', '{"x": 1}', x'0000803f');
            PRAGMA application_id = 1414679638;
            PRAGMA user_version = 1;
        """)
    db.close()
    for _ in range(2):
        store = build("sqlite", {"path": path})
        assert ids(store.query((1.0,), 1, {"x": 1.0})) == ["old"]
        store.close()


def test_vectors_and_data_it_cannot_keep_are_refused():
    store = build("sqlite")
    store.add([record(1)])
    with pytest.raises(ValueError, match="length 3, the store's have 2"):
        store.add([record(2, 1.0, 2.0, 3.0)])
    with pytest.raises(ValueError, match="'r2' holds a number that is too large for 32 bits"):
        store.add([record(2, 1e300, 1.0)])
    with pytest.raises(ValueError, match="JSON"):
        store.add([record(2, x=math.nan)])
    assert store.count() == 1
    store.close()


def test_a_damaged_file_is_told_with_the_way_out_and_set_aside(path):
    store = build("sqlite", {"path": path})
    store.add([record(i) for i in range(50)])
    store.close()
    with open(path, "r+b") as file:
        file.write(b"damaged" * 500)
    with pytest.raises(MemoryFileError, match="`trellis sql rebuild`"):
        build("sqlite", {"path": path})
    moved = SQLiteStore.set_aside(SQLiteConfig(path=path))
    assert moved.read_bytes().startswith(b"damaged")
    store = build("sqlite", {"path": path})
    assert store.count() == 0
    store.close()
    assert SQLiteStore.set_aside(SQLiteConfig(path=":memory:")) is None


def test_another_programs_file_is_not_set_aside(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(MemoryFileError, match="another program's SQLite file"):
        SQLiteStore.set_aside(SQLiteConfig(path=path))


def test_files_that_are_no_store_are_refused(path, tmp_path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(MemoryFileError, match="another program's SQLite file"):
        build("sqlite", {"path": path})
    (tmp_path / "text").write_text("no database, but a text that is long enough to be told apart from one " * 9)
    with pytest.raises(MemoryFileError, match="not a database"):
        build("sqlite", {"path": str(tmp_path / "text")})


def test_a_later_version_is_refused(path):
    build("sqlite", {"path": path}).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(MemoryFileError, match="version 9 of the format, not 2"):
        build("sqlite", {"path": path})
