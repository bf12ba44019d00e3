"""`trellis sql status|why|export|forget|verify` as a person sees them, on a real PostgreSQL."""

import json
import sys
from dataclasses import replace

import psycopg
import pytest

from trellis import build
from trellis.cli import main
from trellis.memory.journal import DecisionEntry, ExecutionEntry, Journal, MeasurementEntry

JOIN = "SELECT count(*) FROM a, b WHERE a.id = b.a AND a.x < 3"
HINTS = "HashJoin(a b) Leading((b a))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("server") / "pg"
    backend = build("postgres", {"directory": str(path)})
    with psycopg.connect(backend.admin_dsn(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE TABLE a AS SELECT i AS id, i % 10 AS x FROM generate_series(1, 2000) i")
        connection.execute("CREATE TABLE b AS SELECT i AS id, i % 2000 AS a FROM generate_series(1, 5000) i")
        connection.execute("ANALYZE")
    yield path
    backend.close()


@pytest.fixture(scope="module")
def backend(folder):
    backend = build("postgres", {"directory": str(folder)})
    yield backend
    backend.close()


@pytest.fixture
def memory(tmp_path, backend):
    """A journal with one query that is served, has been served four times and fell back once."""
    path = tmp_path / "memory.db"
    journal = Journal(path)
    key = journal.add_query(backend.parse(JOIN), name="report")
    m = MeasurementEntry(
        key, backend.identity, HINTS, "faster", 2.0, 1.8, 2.2, 20.0, 10.0, 5, "digest", "arms",
        backend.catalog().version, backend.server_version,
    )  # fmt: skip
    number = journal.add_measurement(m)
    journal.decide(DecisionEntry(key, backend.identity, "serve", HINTS, "measured faster: 2.00x", number))
    tried = [(HINTS, 10.0, False, 3), (HINTS, 12.0, False, 3), ("", 22.0, False, 3), (HINTS, 50.0, True, None)]
    journal.add_executions(
        [ExecutionEntry(key, backend.identity, h, ms, out, rows, None, "serve") for h, ms, out, rows in tried]
    )
    journal.close()
    return path


@pytest.fixture
def trellis(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("TRELLIS_DSN", "TRELLIS_MEMORY"):
        monkeypatch.delenv(name, raising=False)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["trellis", "sql", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


def test_status_counts_what_is_served_and_gained(trellis, memory):
    code, out, _ = trellis("status", memory)
    assert code == 0
    assert "1 queries, 1 measurements, 4 executions; 1 served, 1 fallbacks, -0.03 s saved" in out
    _, out, _ = trellis("status", memory, "--json")
    (row,) = json.loads(out)["queries"]
    assert (row["query"], row["decision"], row["served"], row["untouched"], row["fallbacks"]) == (
        "report",
        "serve",
        2,
        1,
        1,
    )
    assert row["gain_ms"] == pytest.approx(22 - 10 + 22 - 12 - 50)


@pytest.mark.parametrize("named", ["report", JOIN, "select count(*)  from a, b where a.x < 3 and a.id = b.a;"])
def test_why_tells_every_measurement_and_decision(named, trellis, memory):
    code, out, _ = trellis("why", named, "--memory", memory)
    assert code == 0
    assert (
        "measured faster: 2.00x (1.80 to 2.20 over 5 pairs), 20.0 ms by default and 10.0 ms so; proposed by arms" in out
    )
    assert "serve from now on: measured faster: 2.00x" in out
    assert HINTS in out
    assert "served 2 times, run untouched 1 times beside, 1 fallbacks" in out


def test_why_tells_for_what_reason_a_try_failed(trellis, memory):
    journal = Journal(memory)
    (served,) = journal.measurements()
    journal.add_measurement(
        replace(served, hints="NestLoop(a b)", judgement="failed", speedup=0.0, pairs=0, reason="out of memory")
    )
    journal.close()
    assert "measured failed; out of memory; proposed by arms\n" in trellis("why", "report", "--memory", memory)[1]


def test_an_unknown_query_and_a_missing_file_are_said(trellis, memory, tmp_path):
    code, _, err = trellis("why", "nobody", "--memory", memory)
    assert code
    assert "the memory knows no such query" in err
    assert "report" in err
    code, _, err = trellis("status", tmp_path / "none.db")
    assert code
    assert "there is no such file" in err
    assert not (tmp_path / "none.db").exists()


def test_export_as_files_that_run_without_trellis(trellis, memory, backend, tmp_path):
    code, out, _ = trellis("export", "--memory", memory, "--out", "plans")
    assert (code, "1 served" in out) == (0, True)
    text = (tmp_path / "plans" / "report.sql").read_text()
    assert "SET LOCAL join_collapse_limit = '1';" in text
    with psycopg.connect(backend.admin_dsn(), autocommit=True) as connection:
        cursor = connection.execute(text)
        found = next(result.fetchall() for result in cursor.results() if result.description)
        assert found == connection.execute(JOIN).fetchall()


@pytest.mark.parametrize("column", ["query_id bigint", "norm_query_string text"])
def test_export_for_the_hint_table_as_each_version_has_it(column, trellis, memory, backend, tmp_path):
    trellis("export", "--memory", memory, "--format", "pg_hint_plan", "--out", "hints.sql")
    with psycopg.connect(backend.admin_dsn(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA hint_plan")
        connection.execute(f"CREATE TABLE hint_plan.hints (id serial, {column}, application_name text, hints text)")
        try:
            connection.execute((tmp_path / "hints.sql").read_text())
            ((query, hints),) = connection.execute(f"SELECT {column.split()[0]}, hints FROM hint_plan.hints").fetchall()
            connection.execute("SET compute_query_id = on")
            plan = connection.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {JOIN}").fetchone()[0]
        finally:
            connection.execute("DROP SCHEMA hint_plan CASCADE")
    assert hints.startswith("HashJoin(a b) Leading((b a)) Set(")
    assert query in (plan[0]["Query Identifier"], JOIN.replace("3", "?") + ";")


def test_export_as_plan_advice(trellis, memory, tmp_path):
    trellis("export", "--memory", memory, "--format", "pg_plan_advice", "--out", "advice.sql")
    text = (tmp_path / "advice.sql").read_text()
    assert "SET LOCAL pg_plan_advice.advice = 'JOIN_ORDER(b a) HASH_JOIN(a)';" in text


@pytest.mark.parametrize("given", ["queries.sql", "."])
def test_explore_takes_a_file_or_a_folder_and_keeps_what_it_finds(given, trellis, folder, tmp_path):
    (tmp_path / "queries.sql").write_text(f"-- report\n{JOIN};\n\n-- other\n{JOIN.replace('3', '4')};\n")
    place = ("--memory", "plans.db", "--embedded", folder)
    code, out, err = trellis("explore", given, *place, "--iterations", 1)
    assert (code, err) == (0, "")
    assert "kept in plans.db" in out
    journal = Journal(tmp_path / "plans.db")
    assert len(journal.queries()) == 2
    assert journal.counts()["execution"] >= 4
    journal.close()


def test_a_share_that_leaves_nothing_to_explore_is_refused(trellis, folder):
    code, _, err = trellis("explore", JOIN, "--memory", "plans.db", "--embedded", folder, "--share", 1.5)
    assert code
    assert "above 2" in " ".join(err.split())


def test_rebuild_makes_a_damaged_index_anew(trellis, memory, folder):
    place = ("--memory", memory, "--embedded", folder)
    file = memory.with_name(memory.name + ".vectors")
    file.write_bytes(b"damaged" * 1000)
    code, _, err = trellis("explore", JOIN, *place, "--iterations", 1)
    assert code
    assert "`trellis sql rebuild`" in err
    code, out, err = trellis("rebuild", *place)
    assert (code, err) == (0, "")
    assert "sqlite: 1 queries of" in out
    (moved,) = memory.parent.glob("*.damaged-*")
    assert moved.read_bytes().startswith(b"damaged")
    assert trellis("explore", JOIN, *place, "--iterations", 1)[0] == 0


def test_rebuild_makes_a_directory_of_chroma_anew(trellis, memory, folder):
    pytest.importorskip("chromadb", reason="needs the extra `chroma`")
    (memory.parent / "chroma").mkdir()
    (memory.parent / "chroma" / "chroma.sqlite3").write_bytes(b"damaged" * 1000)
    place = ("--memory", memory, "--embedded", folder, "--store", "chroma", "--set", f"path={memory.parent / 'chroma'}")
    code, out, err = trellis("rebuild", *place)
    assert (code, err) == (0, "")
    assert "chroma: 1 queries of" in out
    assert len(list(memory.parent.glob("chroma.damaged-*"))) == 1


def test_rebuild_takes_no_file_that_is_no_index(trellis, memory, folder):
    code, _, err = trellis("rebuild", "--memory", memory, "--embedded", folder, "--set", f"path={memory}")
    assert code
    assert "another program's SQLite file" in err
    assert memory.exists()
    code, _, err = trellis("rebuild", "--memory", memory, "--embedded", folder, "--set", "path")
    assert (code, "'path' is no NAME=VALUE, e.g. path=chroma" in " ".join(err.split())) == (2, True)
    code, _, err = trellis("rebuild", "--memory", memory, "--embedded", folder, "--set", "pahts=x")
    assert code
    assert "there is no such field; did you mean 'path'?" in err


def test_forget_deletes_one_or_all(trellis, memory):
    assert trellis("forget", "--memory", memory)[0]
    assert trellis("forget", "report", "--all", "--memory", memory)[0]
    assert trellis("forget", "report", "--memory", memory)[1] == "1 queries forgotten\n"
    assert trellis("forget", "--all", "--memory", memory)[1] == "0 queries forgotten\n"
    assert "0 queries" in trellis("status", memory)[1]


def test_verify_withdraws_what_is_the_defaults_own_plan(trellis, memory, folder):
    # The default joins the same way, so that nothing is gained whatever the clock says.
    code, out, _ = trellis("verify", "--memory", memory, "--embedded", folder, "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert row["now"] == "withdraw"
    journal = Journal(memory)
    assert journal.decisions()[-1].action == "withdraw"
    assert journal.measurements()[-1].source == "verify"
    assert journal.measurements()[-1].judgement in ("same plan", "slower", "undecided")
    journal.close()


def test_verify_withdraws_what_cannot_be_read_any_more(trellis, memory, folder, backend):
    with psycopg.connect(backend.admin_dsn(), autocommit=True) as connection:
        connection.execute("ALTER TABLE a RENAME COLUMN x TO y")
        backend.refresh()
        try:
            _, out, _ = trellis("verify", "--memory", memory, "--embedded", folder)
        finally:
            connection.execute("ALTER TABLE a RENAME COLUMN y TO x")
            backend.refresh()
    assert "withdraw" in out
    assert "cannot be measured any more" in out


def test_verify_carries_over_what_another_database_serves(trellis, memory, folder, backend):
    journal = Journal(memory)
    (served,) = journal.measurements()
    number = journal.add_measurement(replace(served, database="before/shop", server_version=150004))
    journal.decide(DecisionEntry(served.key, "before/shop", "serve", HINTS, "measured faster", number))
    before = len(journal.measurements(database=backend.identity))
    journal.close()
    place = ("--memory", memory, "--embedded", folder)
    code, _, err = trellis("verify", *place, "--from", "befor/shop")
    assert code
    assert "did you mean 'before/shop'?" in err
    code, out, err = trellis("verify", *place, "--from", "before/shop", "--json")
    assert (code, err) == (0, "")
    assert [row["query"] for row in json.loads(out)] == ["report"]
    journal = Journal(memory)
    assert [m.source for m in journal.measurements(database=backend.identity)[before:]] == ["verify"]
    assert journal.decisions(database="before/shop")[-1].action == "serve"
    journal.close()
