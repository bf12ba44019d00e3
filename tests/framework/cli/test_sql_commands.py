"""`trellis sql` as a person sees it, on a real PostgreSQL."""

import json
import sys

import pytest

from trellis import build
from trellis.cli import main

JOIN = "SELECT count(*) FROM a, b WHERE a.id = b.a AND a.x < 3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an embedded server and two tables."""
    import psycopg

    path = tmp_path_factory.mktemp("server") / "pg"
    backend = build("postgres", {"directory": str(path)})
    with psycopg.connect(backend.admin_dsn()) as connection:
        connection.execute("CREATE TABLE a AS SELECT i AS id, i % 10 AS x FROM generate_series(1, 2000) i")
        connection.execute("CREATE TABLE b AS SELECT i AS id, i % 2000 AS a FROM generate_series(1, 5000) i")
        connection.execute("CREATE INDEX b_a ON b (a)")
    with psycopg.connect(backend.admin_dsn(), autocommit=True) as connection:
        connection.execute("ANALYZE")
    yield path
    backend.close()


@pytest.fixture
def trellis(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRELLIS_DSN", raising=False)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["trellis", "sql", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


def test_check_says_what_a_query_joins_without_a_database(trellis):
    code, out, _ = trellis("check", JOIN)
    assert code == 0
    assert "the query: a (a), b (b)" in out
    assert "a - b: a.id = b.a" in out
    assert "a: a.x < 3" in out
    assert "literals: 3" in out


def test_check_reads_all_queries_of_a_file_and_tells_which_cannot_be_run(trellis, tmp_path):
    (tmp_path / "some.sql").write_text(f"-- good\n{JOIN};\n-- bad\nDELETE FROM a;\n-- worse\nSELECT FROM WHERE;")
    code, out, _ = trellis("check", "some.sql", "--json")
    good, bad, worse = json.loads(out)
    assert code == 1
    assert (good["query"], len(good["fingerprint"])) == ("good", 32)
    assert "only a SELECT" in bad["error"]
    assert worse["line"] == 6


def test_lint_says_all_that_is_wrong_and_what_to_write(trellis):
    code, out, _ = trellis("lint", "NestedLoop(a b) Leading((a b) c)", "--query", "SELECT 1 FROM a, b, c")
    assert code == 1
    assert "1:1: error: unknown keyword NestedLoop; did you mean 'NestLoop'?" in out
    assert "write: NestedLoop(a b) Leading(((a b) c))" in out


def test_lint_looks_names_up_in_the_database(trellis, folder):
    code, out, _ = trellis("lint", "IndexScan(b b_x)", "--query", JOIN, "--embedded", folder)
    assert code == 1
    assert "b_a" in out
    assert trellis("lint", "IndexScan(b b_a)", "--query", JOIN, "--embedded", folder)[:2] == (0, "nothing is wrong\n")


def test_hint_shows_what_would_be_sent(trellis, folder):
    code, out, _ = trellis("hint", JOIN, "--hints", "HashJoin(a b) Leading((b a))", "--embedded", folder)
    assert code == 0
    assert "FROM b CROSS JOIN a" in out
    assert "SET LOCAL join_collapse_limit = '1';" in out
    assert "honoured  HashJoin(a b)" in out


def test_explain_writes_a_plan_that_other_tools_draw(trellis, folder, tmp_path):
    code, out, _ = trellis("explain", JOIN, "--embedded", folder, "--analyze", "--pev2", tmp_path / "plan.json")
    assert code == 0
    assert "Aggregate" in out
    (document,) = json.loads((tmp_path / "plan.json").read_text())
    assert document["Plan"]["Actual Rows"] == 1
    assert "Shared Hit Blocks" in document["Plan"]


def test_measure_compares_hints_with_the_default(trellis, folder):
    hints = "Set(enable_hashjoin off) Set(enable_mergejoin off)"
    code, out, _ = trellis("measure", JOIN, "--hints", hints, "--random", 2, "--embedded", folder, "--json")
    (measured,) = json.loads(out)
    assert code == 0
    assert list(measured["variants"])[:2] == ["default", hints]
    assert {one["digest"] for one in measured["variants"].values() if one["digest"]} == {
        measured["variants"]["default"]["digest"]
    }
    assert len(measured["variants"]["default"]["latencies_ms"]) == measured["rounds"]


def test_setup_prints_what_makes_a_role_that_may_only_read(trellis, folder):
    code, out, _ = trellis("setup", "--embedded", folder, "--role", "somebody", "--dry-run")
    assert code == 0
    assert 'CREATE ROLE "somebody"' in out
    assert "NOSUPERUSER" in out


def test_the_shop_is_loaded_once_and_its_queries_written(trellis, tmp_path_factory):
    path = tmp_path_factory.mktemp("shop")
    words = ("shop", "--embedded", path / "pg", "--scale", "0.05", "--queries", "30", "--out", path / "queries")
    code, out, _ = trellis(*words)
    assert code == 0
    assert sum(int(line.split()[-2]) for line in out.splitlines()) == 30
    code, out, _ = trellis("check", path / "queries", "--embedded", path / "pg", "--json")
    assert code == 0
    assert len(json.loads(out)) == 30
    assert trellis(*words)[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", JOIN), "name one database, by --dsn, --embedded or --duckdb: none was given"),
        (("explain", JOIN, "--embedded", "x", "--duckdb", "y"), "--embedded and --duckdb were given"),
        (("explain", "SELECT 1; SELECT 2", "--embedded", "{folder}"), "there are 2 statements: give one"),
        (("explain", "", "--embedded", "{folder}"), "there is no statement"),
        (("explain", "DROP TABLE a", "--embedded", "{folder}"), "only a SELECT may be sent"),
        (("explain", "SELECT * FROM nowhere", "--embedded", "{folder}"), 'relation "nowhere" does not exist'),
        (
            ("explain", JOIN, "--hints", "Leading((a z))", "--embedded", "{folder}"),
            "the query has no alias z. Valid: a, b",
        ),
        (("measure", "SELECT 1", "--random", "3", "--embedded", "{folder}"), "there is nothing to measure"),
        (("explain", JOIN, "--dsn", "host=/nowhere dbname=x"), "cannot connect"),
        (("shop", "--out", "x", "--duckdb", "y"), "No such option"),
    ],
)
def test_what_is_given_wrongly_is_said(trellis, folder, words, said):
    code, _, err = trellis(*(str(word).replace("{folder}", str(folder)) for word in words))
    assert code != 0
    assert said in err
    assert "Traceback" not in err
