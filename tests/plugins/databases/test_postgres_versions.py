"""An older server, where one is installed: PostgreSQL 15, started here, without root's rights."""

import getpass
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from trellis import build
from trellis.errors import DatabaseError
from trellis.memory.journal import Journal
from trellis.sql import compare, parse_hints
from trellis_postgres.backend import Postgres
from trellis_postgres.config import PostgresConfig
from trellis_postgres.setup import setup_role

from .conftest import DATA

BIN = Path("/usr/lib/postgresql/15/bin")
PRELOADED = "-c shared_preload_libraries=pg_stat_statements"
USERS = ("postgres", "pgserver", "nobody")

pytestmark = pytest.mark.skipif(not (BIN / "initdb").exists(), reason="PostgreSQL 15 is not installed")


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """Returns a backend on PostgreSQL 15."""
    directory = tmp_path_factory.mktemp("older")
    user = None
    if getpass.getuser() == "root":
        user = next(name for name in USERS if name in {entry.pw_name for entry in pwd.getpwall()})
        for folder in (directory, *directory.parents):
            if folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        shutil.chown(directory, user)

    def tool(name, *arguments):
        subprocess.run([BIN / name, *arguments], check=True, user=user, cwd=directory, capture_output=True, timeout=120)

    data, log = directory / "data", directory / "log"
    tool("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync")
    tool("pg_ctl", "-D", data, "-l", log, "-w", "-o", f"-h '' -k {directory} {PRELOADED}", "start")
    try:
        dsn = f"host={directory} user=postgres dbname=postgres"
        setup_role(dsn, login=True, restrict_public=True)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute((DATA / "shop.sql").read_text(encoding="utf-8"))
        setup_role(dsn, schemas=["public"], login=True, restrict_public=True)
        backend = Postgres(PostgresConfig(dsn=f"host={directory} user=trellis_reader dbname=postgres"))
        yield backend
        backend.close()
    finally:
        tool("pg_ctl", "-D", data, "-m", "immediate", "stop")


def test_it_executes_explains_and_takes_hints(older, postgres):
    assert older.server_version // 10_000 == 15
    sql = (
        "SELECT c.name, count(*) FROM city c, customer u, orders o "
        "WHERE u.city_id = c.id AND o.customer_id = u.id GROUP BY c.name"
    )
    query, hints = older.parse(sql), parse_hints("Leading(((u o) c))")
    expected = postgres.execute(postgres.parse(sql), timeout_ms=60_000).digest
    assert older.execute(query, timeout_ms=60_000).digest == expected
    assert older.execute(query, hints, timeout_ms=60_000).digest == expected
    (verdict,) = compare(hints, older.explain(query, hints, timeout_ms=60_000), query)
    assert verdict.same_tree


def test_its_catalog_reads_the_same(older, postgres):
    ours = {name: table for name, table in postgres.catalog().tables.items() if table.schema == "public"}
    assert {name: older.catalog().tables[name].columns for name in ours} == {n: t.columns for n, t in ours.items()}
    assert {name: older.catalog().tables[name].indexes for name in ours} == {n: t.indexes for n, t in ours.items()}


@pytest.mark.parametrize(
    "sql", ["SELECT write_log('x')", "SELECT word FROM vault.secret", "SELECT rolpassword FROM pg_authid"]
)
def test_it_refuses_the_same(older, sql):
    with pytest.raises(DatabaseError):
        older._session.run(sql, timeout_ms=60_000)


def trellis(*words):
    program = "import sys; from trellis.cli import main; sys.argv = ['trellis', *sys.argv[1:]]; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, check=False
    )


def test_what_it_has_run_is_explored_and_told_where_it_cannot_be(older, tmp_path):
    explore = ("sql", "explore", "--memory", tmp_path / "plans.db", "--dsn", older.config.dsn, "--iterations", 1)
    said = trellis(*explore, "--recorded", 5)
    assert "CREATE EXTENSION pg_stat_statements" in said.stderr
    with psycopg.connect(older.config.dsn.replace("trellis_reader", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        hidden = Postgres(PostgresConfig(dsn=older.config.dsn, settings={}))
        connection.execute("SELECT pg_stat_statements_reset()")
        connection.execute("SELECT count(*) FROM city c, customer u WHERE u.city_id = c.id AND c.region = 'north'")
        assert all(one.sql != "<insufficient privilege>" for one in hidden.recorded())
        hidden.close()
        connection.execute("GRANT pg_read_all_stats TO trellis_reader")
        said = trellis(*explore, "--recorded", 5)
        connection.execute("DROP EXTENSION pg_stat_statements")
        connection.execute("REVOKE pg_read_all_stats FROM trellis_reader")
    assert (said.returncode, said.stderr) == (0, "")
    journal = Journal(tmp_path / "plans.db")
    assert len({entry.name.rsplit("-", 1)[0] for entry in journal.queries()}) == 1
    assert all("FROM city AS c" in entry.sql or "FROM city c" in entry.sql for entry in journal.queries())
    assert journal.counts()["execution"] > 0
    journal.close()
    assert "not both" in trellis(*explore, "SELECT 1", "--recorded", 5).stderr
    assert "--recorded" in trellis(*explore).stderr


def test_what_it_has_run_is_a_workload(older):
    with psycopg.connect(older.config.dsn.replace("trellis_reader", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("SELECT pg_stat_statements_reset()")
        connection.execute("GRANT pg_read_all_stats TO trellis_reader")
        for region in ("north", "south"):
            connection.execute(
                f"SELECT count(*) FROM city c, customer u WHERE u.city_id = c.id AND c.region = '{region}' AND u.id < 500"
            )
        connection.execute("SELECT count(*) FROM city WHERE id + 1 = 3")
    task = build("recorded", {"variants": 3, "seed": 1, "limit": 500, "skip_unusable": True}, database=older)
    recorded = [
        problem
        for split in ("train", "validation", "test")
        for problem in task.problems(split)
        if "region = '" in problem.text and "orders" not in problem.text
    ]
    assert recorded
    assert len({problem.data["fingerprint"] for problem in recorded}) == 1
    assert all(problem.data["calls"] == 2 for problem in recorded)
    for problem in recorded:
        assert "$" not in problem.text
        assert older.execute(older.parse(problem.text), timeout_ms=10_000).num_rows == 1
