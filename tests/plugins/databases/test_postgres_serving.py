"""Connections that serve: what is recognised, what is left alone, and that nothing but the time differs."""

import asyncio
import os
import re
import subprocess
import sys
import time

import psycopg
import pytest
from psycopg.rows import dict_row

import trellis.sql
from trellis import build
from trellis.memory.drift import ground_of, note_catalog
from trellis.memory.journal import DecisionEntry, Journal, MeasurementEntry
from trellis.sql import parse_hints

JOIN = "SELECT a.x, count(*) AS n, sum(b.id) AS total FROM a, b WHERE a.id = b.a AND a.x < 5 GROUP BY a.x"
PARAMETERS = JOIN.replace("5", "%s")
HINTS = "HashJoin(a b) Leading((b a))"
SPILLING = "".join(
    f"Set(enable_{way} off) " for way in ("hashjoin", "nestloop", "indexscan", "indexonlyscan", "bitmapscan")
)
SLOW = "SELECT count(*) FROM b x, b y WHERE x.id <> y.id AND x.id < 1500 AND y.id < 1500"
SETTINGS = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> 'client_encoding' ORDER BY 1"
QUICK = {"default_share": 0, "poll_s": 0.05}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from trellis_postgres.server import EmbeddedServer

    server = EmbeddedServer(str(tmp_path_factory.mktemp("serving") / "data"), database="shop")
    server.start()
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(
            "CREATE TABLE a AS SELECT i AS id, i % 10 AS x, 'n' || i % 7 AS name FROM generate_series(1, 2000) i"
        )
        connection.execute("CREATE TABLE b AS SELECT i AS id, i % 2000 AS a FROM generate_series(1, 50000) i")
        connection.execute("CREATE INDEX b_a ON b (a)")
        connection.execute("ANALYZE")
    yield server
    server.close()


@pytest.fixture(scope="module")
def dsn(server):
    return server.dsn("postgres")


@pytest.fixture
def backend(dsn):
    backend = build("postgres", {"dsn": dsn, "allow_privileged": True})
    yield backend
    backend.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


@pytest.fixture
def serve(journal, backend):
    """Note a query as measured faster, and decide to serve it."""

    def note(sql, hints=HINTS, *, default_ms=10_000.0, action="serve"):
        key = journal.add_query(backend.parse(sql))
        number = journal.add_measurement(
            MeasurementEntry(
                key, backend.identity, hints, "faster", 2.0, 1.8, 2.2, default_ms, default_ms / 2, 5, "digest", "test",
                backend.catalog().version, backend.server_version,
            )
        )  # fmt: skip
        journal.decide(DecisionEntry(key, backend.identity, action, hints, "measured faster", number))
        return key

    return note


@pytest.fixture
def connect(dsn, path):
    opened = []

    def connect(**more):
        more = {"memory": path, "serving": QUICK, "autocommit": True} | more
        opened.append(trellis.sql.connect(dsn, **more))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def plain(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def rows(connection, *query):
    return sorted(connection.execute(*query).fetchall())


def count(connection, what="served"):
    return connection.serving.counts()[what]


def transaction(connection):
    return connection.info.transaction_status.name


def settings(connection):
    return connection.execute(SETTINGS).fetchall()


# What is recognised.


def test_a_known_query_is_served_with_the_same_result(serve, connect, plain):
    serve(JOIN)
    connection = connect()
    assert isinstance(connection, psycopg.Connection)
    assert rows(connection, JOIN) == rows(plain, JOIN)
    assert count(connection) == 1


def test_layout_and_aliases_in_other_case_do_not_matter(serve, connect):
    serve(JOIN)
    connection = connect()
    connection.execute(JOIN.replace("SELECT", "select /* from the report */\n  ").replace("FROM a, b", "FROM A, B"))
    assert count(connection) == 1


def test_parameters_are_recognised_by_their_values(serve, connect, plain):
    serve(JOIN)
    connection = connect()
    assert rows(connection, PARAMETERS, (5,)) == rows(plain, JOIN)
    assert rows(connection, JOIN.replace("5", "%(x)s::INTEGER"), {"x": 5}) == rows(plain, JOIN)
    assert count(connection) == 2
    assert rows(connection, PARAMETERS, (4,)) == rows(plain, JOIN.replace("5", "4"))
    assert count(connection) == 2


def test_strings_dates_and_negative_numbers_are_recognised(serve, connect, plain):
    import datetime

    sql = "SELECT count(*) FROM a, b WHERE a.id = b.a AND a.name = {} AND a.x > {} AND DATE '2024-01-01' < {}"
    serve(sql.format("'n''3'", "-2", "DATE '2024-05-06'"))
    connection = connect()
    connection.execute(sql.format("%s", "%s", "%s"), ["n'3", -2, datetime.date(2024, 5, 6)])
    assert count(connection) == 1


@pytest.mark.parametrize("factory", [psycopg.RawCursor, psycopg.ClientCursor])
def test_raw_and_client_side_cursors_are_served(factory, serve, connect, plain):
    serve(JOIN)
    connection = connect(cursor_factory=factory)
    placeholder = "$1" if factory is psycopg.RawCursor else "%s"
    assert rows(connection, JOIN.replace("5", placeholder), [5]) == rows(plain, JOIN)
    assert count(connection) == 1
    assert isinstance(connection.cursor(), factory)


def test_row_factories_and_binary_results_come_as_asked_for(serve, connect, plain):
    serve(JOIN)
    connection = connect(row_factory=dict_row)
    found = connection.execute(JOIN).fetchall()
    assert sorted(tuple(row.values()) for row in found) == rows(plain, JOIN)
    assert set(found[0]) == {"x", "n", "total"}
    cursor = connection.cursor(binary=True, row_factory=psycopg.rows.tuple_row)
    assert sorted(cursor.execute(JOIN).fetchall()) == rows(plain, JOIN)
    assert cursor.description[0].name == "x"
    assert cursor.pgresult.fformat(0) == psycopg.pq.Format.BINARY
    assert count(connection) == 2


def test_a_cursor_shows_the_query_that_was_asked(serve, connect):
    serve(JOIN)
    connection = connect()
    cursor = connection.execute(PARAMETERS, (5,))
    assert b"$1" in cursor._query.query
    assert (cursor.statusmessage, cursor.rowcount) == ("SELECT 5", 5)
    assert count(connection) == 1


def test_other_aliases_are_another_matter_for_hints(serve, connect, plain):
    serve("SELECT count(*) FROM a x, a y WHERE x.id = y.x AND x.x = 3 AND y.x = 4", "Leading((x y))")
    connection = connect()
    swapped = "SELECT count(*) FROM a y, a x WHERE y.id = x.x AND y.x = 3 AND x.x = 4"
    assert rows(connection, swapped) == rows(plain, swapped)
    assert count(connection) == 0


# What is left alone.


def test_everything_else_is_psycopgs_own(serve, connect, plain):
    serve(JOIN)
    connection = connect()
    connection.execute("CREATE TEMP TABLE t (i int)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.cursor().executemany("INSERT INTO t VALUES (%s)", [(2,), (3,)])
    cursor = connection.cursor()
    cursor.executemany(PARAMETERS, [(5,), (5,)], returning=True)
    assert sorted(cursor.fetchall()) == rows(plain, JOIN)
    with connection.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write_row((4,))
    with connection.cursor().copy(f"COPY ({JOIN}) TO STDOUT") as copy:
        assert len(list(copy.rows())) == 5
    assert connection.execute("SELECT sum(i) FROM t").fetchone() == (10,)
    with connection.pipeline():
        piped = connection.execute(JOIN)
        assert sorted(piped.fetchall()) == rows(plain, JOIN)
    assert len(list(connection.cursor().stream(JOIN))) == 5
    with connection.transaction(), connection.cursor("named") as named:
        assert len(named.execute(JOIN).fetchall()) == 5
    assert connection.execute(JOIN, prepare=True).rowcount == 5
    assert connection.execute(JOIN + "; SELECT 1").nextset()
    assert connection.execute("SELECT 1 WHERE %s::int IS NULL", [None]).fetchone() == (1,)
    assert connection.execute("SELECT %s::int[]", [[1, 2]]).fetchone() == ([1, 2],)
    assert count(connection) == 0
    assert count(connection, "fallbacks") == 0


def test_errors_are_the_users_own(serve, connect):
    serve(JOIN)
    connection = connect()
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM nothing")
    with pytest.raises(psycopg.errors.SyntaxError):
        connection.execute("SELECT FROM WHERE")
    with pytest.raises(psycopg.ProgrammingError):
        connection.execute(PARAMETERS, ())
    assert rows(connection, JOIN)


def test_decisions_not_to_serve_are_kept_to(serve, connect):
    serve(JOIN, action="keep default")
    connection = connect()
    connection.execute(JOIN)
    assert count(connection, "plans") == count(connection) == 0


# The guard.


@pytest.mark.parametrize("autocommit", [True, False])
def test_settings_and_transaction_are_afterwards_as_before(autocommit, serve, connect):
    serve(JOIN, "MergeJoin(a b) Leading((b a)) Set(enable_sort on)")
    connection = connect(autocommit=autocommit)
    connection.execute("SET enable_nestloop = off")
    if not autocommit:
        connection.execute("SET LOCAL enable_mergejoin = off")
        connection.execute("SET LOCAL statement_timeout = '90s'")
    before = settings(connection)
    state = transaction(connection)
    connection.execute(JOIN)
    assert count(connection) == 1
    assert transaction(connection) == state == ("IDLE" if autocommit else "INTRANS")
    assert settings(connection) == before


def test_what_a_transaction_did_before_stays(serve, connect, plain):
    serve(JOIN)
    connection = connect(autocommit=False)
    connection.execute("CREATE TEMP TABLE mine (i int)")
    connection.execute("INSERT INTO mine VALUES (1)")
    connection.execute("SAVEPOINT own")
    connection.execute(JOIN)
    connection.execute("INSERT INTO mine VALUES (2)")
    connection.execute("ROLLBACK TO SAVEPOINT own")
    connection.execute(JOIN)
    connection.commit()
    assert connection.execute("SELECT i FROM mine").fetchall() == [(1,)]
    assert count(connection) == 2


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_try_that_takes_too_long_is_stopped_and_the_query_answered(
    autocommit, serve, connect, plain, journal, backend
):
    key = serve(SLOW, "Leading((y x))", default_ms=2.0)
    connection = connect(autocommit=autocommit, serving=QUICK | {"floor_ms": 1.0})
    connection.execute("SET work_mem = '8MB'")
    before = settings(connection)
    assert rows(connection, SLOW) == rows(plain, SLOW)
    assert count(connection, "fallbacks") == 1
    assert transaction(connection) == ("IDLE" if autocommit else "INTRANS")
    assert settings(connection) == before
    assert rows(connection, SLOW) == rows(plain, SLOW)
    assert count(connection, "fallbacks") == 1
    connection.serving.synchronise()
    last = journal.decisions(key=key)[-1]
    assert last.action == "withdraw"
    assert "fell back to the untouched query: stopped after" in last.reason
    tried = journal.executions(key=key)
    assert [(e.purpose, e.timed_out, e.num_rows) for e in tried] == [("serve", True, None)]


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_try_that_fails_does_not_abort_the_users_transaction(autocommit, serve, connect, plain, journal):
    key = serve(JOIN, SPILLING)
    connection = connect(autocommit=autocommit)
    connection.execute("SET work_mem = '64kB'")
    before = settings(connection)
    connection.execute("SET temp_file_limit = '64kB'")
    assert rows(connection, JOIN) == rows(plain, JOIN)
    assert count(connection, "fallbacks") == 1
    connection.execute("RESET temp_file_limit")
    assert settings(connection) == before
    connection.serving.synchronise()
    assert "temp_file_limit" in journal.decisions(key=key)[-1].reason


def test_an_error_of_the_query_itself_reaches_the_user_and_aborts_as_ever(serve, connect):
    sql = "SELECT a.id / (a.x - a.x) FROM a, b WHERE a.id = b.a"
    serve(sql)
    connection = connect(autocommit=False)
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute(sql)
    assert transaction(connection) == "INERROR"
    connection.rollback()
    connection.execute("SELECT 1")


def test_the_users_own_time_out_holds(serve, connect):
    serve(SLOW, "Leading((y x))", default_ms=60_000)
    connection = connect()
    connection.execute("SET statement_timeout = '5ms'")
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(SLOW)
    assert time.monotonic() - started < 30
    assert connection.execute("SHOW statement_timeout").fetchone() == ("5ms",)
    assert transaction(connection) == "IDLE"


@pytest.mark.parametrize("autocommit", [True, False])
def test_what_the_user_cancels_is_not_run_again(autocommit, serve, connect):
    import threading

    slow = "SELECT count(*) FROM b x, b y, b z WHERE x.id <> y.id AND y.id <> z.id"
    serve(slow, "Leading(((y x) z))", default_ms=600_000)
    connection = connect(autocommit=autocommit)
    threading.Timer(0.5, connection.cancel).start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(slow)
    assert transaction(connection) == ("IDLE" if autocommit else "INERROR")
    connection.rollback()
    assert count(connection, "fallbacks") == 0
    assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


# Counting, withdrawing, other processes.


def test_a_plan_that_stops_paying_is_withdrawn_and_the_reason_says_the_numbers(serve, connect, journal):
    key = serve(JOIN, default_ms=2.0)
    connection = connect(serving=QUICK | {"window": 3})
    for _ in range(5):
        connection.execute(JOIN)
    assert count(connection) == 3
    connection.serving.synchronise()
    last = journal.decisions(key=key)[-1]
    assert last.action == "withdraw"
    assert "stopped paying: median" in last.reason
    assert "over the last 3 served, the default's is 2.0 ms" in last.reason


def test_executions_are_in_the_journal_soon_without_being_asked_for(serve, connect, journal):
    key = serve(JOIN)
    connection = connect()
    connection.execute(JOIN)
    deadline = time.monotonic() + 20
    while not journal.executions(key=key) and time.monotonic() < deadline:
        time.sleep(0.02)
    (execution,) = journal.executions(key=key)
    assert (execution.hints, execution.num_rows, execution.purpose) == (HINTS, 5, "serve")


def test_a_share_of_executions_runs_untouched(serve, connect, journal):
    key = serve(JOIN, default_ms=1e6)
    connection = connect(serving=QUICK | {"default_share": 0.25})
    for _ in range(8):
        connection.execute(JOIN)
    connection.serving.synchronise()
    assert [e.hints for e in journal.executions(key=key)] == [HINTS] * 3 + [""] + [HINTS] * 3 + [""]
    assert (count(connection), count(connection, "default")) == (6, 2)


def test_decisions_of_others_are_taken_over(serve, connect, journal, backend):
    connection = connect()
    key = serve(JOIN)
    connection.serving.synchronise()
    connection.execute(JOIN)
    assert count(connection) == 1
    journal.decide(DecisionEntry(key, backend.identity, "withdraw", HINTS, "somebody's reason"))
    connection.serving.synchronise()
    connection.execute(JOIN)
    assert count(connection) == 1
    assert journal.decisions(key=key)[-1].reason == "somebody's reason"


def test_several_processes_serve_and_count_at_once(serve, connect, dsn, path, journal):
    key = serve(JOIN)
    program = f"""
import trellis.sql
connection = trellis.sql.connect({dsn!r}, memory={str(path)!r}, serving={QUICK!r}, autocommit=True)
for _ in range(20): connection.execute({JOIN!r})
print(connection.serving.counts()["served"])
"""
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in started] == ["20"] * 3
    assert len(journal.executions(key=key)) == 60


def test_the_memory_is_let_go_when_the_last_connection_closes(serve, connect):
    serve(JOIN)
    connection = connect()
    shared = connection.serving
    connection.close()
    deadline = time.monotonic() + 20
    while not shared._closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert shared._closed
    again = connect()
    again.execute(JOIN)
    assert again.serving is not shared
    assert count(again) == 1


# Change.


def test_a_dropped_index_stops_serving_what_reads_its_table(serve, connect, plain, journal, dsn):
    plain.execute("CREATE INDEX passing ON b (id)")
    other = "SELECT count(*) FROM a x, a y WHERE x.id = y.x AND x.x = 3"
    try:
        key, untouched = serve(JOIN), serve(other, "Leading((x y))")
        connection = connect()
        assert count(connection, "plans") == 2
    finally:
        plain.execute("DROP INDEX passing")
    connection.serving.synchronise(schema=True)
    assert count(connection, "plans") == 1
    assert rows(connection, JOIN) == rows(plain, JOIN)
    assert count(connection) == 0
    last = journal.decisions(key=key)[-1]
    assert last.action == "withdraw"
    assert last.reason == "the index passing of b is gone: not served until it is verified again"
    assert [d.action for d in journal.decisions(key=untouched)] == ["serve"]


def test_a_renamed_column_stops_serving(serve, connect, plain, journal):
    key = serve(JOIN)
    connection = connect()
    plain.execute("ALTER TABLE a RENAME COLUMN x TO y")
    try:
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute(JOIN)
        connection.serving.synchronise(schema=True)
    finally:
        plain.execute("ALTER TABLE a RENAME COLUMN y TO x")
    assert journal.decisions(key=key)[-1].action == "withdraw"
    assert rows(connection, JOIN) == rows(plain, JOIN)


def test_a_measurement_on_another_major_version_is_not_served(journal, backend, connect):
    key = journal.add_query(backend.parse(JOIN))
    number = journal.add_measurement(
        MeasurementEntry(
            key, backend.identity, HINTS, "faster", 2.0, 1.8, 2.2, 20, 10, 5, "digest", "test",
            backend.catalog().version, 150004,
        )
    )  # fmt: skip
    journal.decide(DecisionEntry(key, backend.identity, "serve", HINTS, "measured faster", number))
    connection = connect()
    connection.execute(JOIN)
    assert count(connection) == 0
    connection.serving.synchronise()
    assert "version was 150004" in journal.decisions(key=key)[-1].reason


def test_every_role_sees_the_same_version_of_the_schema(server, backend):
    reader = build("postgres", {"dsn": server.dsn(), "search_path": "pg_catalog"})
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE secret (i int)")
        connection.execute("REVOKE ALL ON secret FROM trellis_reader")
        backend.refresh()
        assert reader.catalog().version == backend.catalog().version
        assert reader.catalog().table("public.secret") is None
        connection.execute("DROP TABLE secret")
    reader.close()


# Async, pools, SQLAlchemy.


def test_asyncio(serve, dsn, path, plain):
    serve(JOIN)

    async def main():
        connection = await trellis.sql.connect_async(dsn, memory=path, serving=QUICK)
        assert isinstance(connection, psycopg.AsyncConnection)
        async with connection:
            found = await (await connection.execute(PARAMETERS, (5,))).fetchall()
            assert transaction(connection) == "INTRANS"
            return sorted(found), count(connection)

    assert asyncio.run(main()) == (rows(plain, JOIN), 1)


def test_a_pool(serve, dsn, path, plain):
    import psycopg_pool

    serve(JOIN)
    with (
        psycopg_pool.ConnectionPool(
            dsn,
            connection_class=trellis.sql.Connection,
            kwargs={"memory": path, "serving": QUICK},
            min_size=2,
            max_size=2,
        ) as pool,
        pool.connection() as one,
        pool.connection() as two,
    ):
        assert one.serving is two.serving
        assert rows(one, JOIN) == rows(two, JOIN) == rows(plain, JOIN)
        assert count(one) == 2


def test_an_async_pool(serve, dsn, path):
    import psycopg_pool

    serve(JOIN)

    async def main():
        async with (
            psycopg_pool.AsyncConnectionPool(
                dsn,
                connection_class=trellis.sql.AsyncConnection,
                kwargs={"memory": path, "serving": QUICK},
                min_size=1,
                open=False,
            ) as pool,
            pool.connection() as connection,
        ):
            await connection.execute(JOIN)
            return count(connection)

    assert asyncio.run(main()) == 1


def test_sqlalchemy_works_unchanged(serve, connect, plain):
    import sqlalchemy

    serve(JOIN)
    shared = connect().serving
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: connect(autocommit=False))
    with engine.begin() as connection:
        found = connection.execute(sqlalchemy.text(JOIN.replace("5", ":x")), {"x": 5}).all()
        assert sorted(map(tuple, found)) == rows(plain, JOIN)
        connection.execute(sqlalchemy.text("CREATE TEMP TABLE t (i int)"))
        connection.execute(sqlalchemy.text("INSERT INTO t VALUES (:i)"), [{"i": 1}, {"i": 2}])
        assert connection.execute(sqlalchemy.text("SELECT sum(i) FROM t")).scalar() == 3
    a, b = (
        sqlalchemy.table("a", *map(sqlalchemy.column, ("id", "x"))),
        sqlalchemy.table("b", *map(sqlalchemy.column, ("id", "a"))),
    )
    built = (
        sqlalchemy.select(a.c.x, sqlalchemy.func.count().label("n"), sqlalchemy.func.sum(b.c.id).label("total"))
        .where(a.c.id == b.c.a, a.c.x < 5)
        .group_by(a.c.x)
    )
    with engine.connect() as connection:
        assert sorted(map(tuple, connection.execute(built))) == rows(plain, JOIN)
    engine.dispose()
    assert shared.counts()["served"] == 2


# What goes wrong before anything is served.


def test_a_file_that_is_no_journal_is_said_at_once(dsn, tmp_path):
    from trellis.errors import MemoryFileError

    (tmp_path / "note.txt").write_text("not a journal, and longer than a header of SQLite's would be" * 20)
    with pytest.raises(MemoryFileError, match="cannot be used as a memory"):
        trellis.sql.connect(dsn, memory=tmp_path / "note.txt")


def test_a_server_that_is_not_there_is_psycopgs_error(path):
    with pytest.raises(psycopg.OperationalError):
        trellis.sql.connect("host=/nowhere dbname=shop", memory=path)


def test_a_wrong_rule_is_named(dsn, path):
    with pytest.raises(ValueError, match="windows"):
        trellis.sql.connect(dsn, memory=path, serving={"windows": 3})


@pytest.mark.parametrize(
    ("shown", "ms"),
    [("0", float("inf")), ("5ms", 5), ("90s", 90_000), ("1500ms", 1500), ("2min", 120_000), ("3h", 10_800_000)],
)
def test_the_servers_way_of_writing_a_time_out_is_read(shown, ms, plain):
    from trellis_postgres.serving.guard import own_timeout_ms

    plain.execute(f"SET statement_timeout = '{shown}'")
    assert own_timeout_ms(plain.execute("SHOW statement_timeout").fetchone()[0].encode()) == ms


@pytest.fixture
def growing(dsn, plain):
    """Two tables of their own, to be changed."""
    plain.execute("CREATE TABLE g AS SELECT i AS id, i % 10 AS x FROM generate_series(1, 2000) i")
    plain.execute("CREATE TABLE h AS SELECT i AS id, i % 2000 AS g FROM generate_series(1, 5000) i")
    plain.execute("CREATE INDEX h_g ON h (g)")
    plain.execute("ANALYZE g, h")
    yield "SELECT count(*) FROM g, h WHERE g.id = h.g AND g.x < 3"
    plain.execute("DROP TABLE g, h")


@pytest.fixture
def measured(journal, backend, growing):
    """Note a query as served, with the ground of a real measurement."""
    hints = "NestLoop(g h) Leading((g h))"
    query = backend.parse(growing)
    ground = ground_of(
        query,
        backend.catalog(),
        default=backend.explain(query),
        plan=backend.explain(query, parse_hints(hints)),
        settings=backend.settings,
    )
    key = journal.add_query(query)
    note_catalog(journal, backend.catalog())
    number = journal.add_measurement(
        MeasurementEntry(
            key, backend.identity, hints, "faster", 2.0, 1.8, 2.2, 10_000.0, 5_000.0, 5, "digest", "test",
            backend.catalog().version, backend.server_version, ground=ground,
        )
    )  # fmt: skip
    journal.decide(DecisionEntry(key, backend.identity, "serve", hints, "measured faster", number))
    return key


def holds(journal, backend, key):
    decision = journal.served(backend.identity)[key]
    return decision.action, decision.reason


def test_what_changes_nothing_of_a_plan_is_served_on(connect, plain, journal, backend, growing, measured):
    connection = connect(serving=QUICK | {"drift_s": 3600})
    plain.execute("INSERT INTO g SELECT 2000 + i, i % 10 FROM generate_series(1, 100) i")
    plain.execute("ALTER TABLE a ALTER COLUMN x SET STATISTICS 500")
    plain.execute("ANALYZE g, h, a")
    plain.execute("ALTER TABLE g ADD COLUMN more int")
    connection.serving.synchronise(schema=True)
    assert holds(journal, backend, measured) == ("serve", "measured faster")
    # Somebody decides on another query: that is read without looking at the schema again.
    other = journal.add_query(backend.parse(JOIN))
    journal.decide(DecisionEntry(other, backend.identity, "keep default", "", "nothing is worth serving"))
    connection.serving.synchronise()
    assert rows(connection, growing) == rows(plain, growing)
    assert connection.serving.counts()["served"] == 1


def test_a_table_that_has_grown_withdraws_its_plans(connect, plain, journal, backend, measured):
    connection = connect(serving=QUICK | {"drift_s": 3600})
    plain.execute("INSERT INTO h SELECT 5000 + i, i % 2000 FROM generate_series(1, 20000) i")
    connection.serving.synchronise(schema=True)
    action, reason = holds(journal, backend, measured)
    assert action == "withdraw"
    assert re.search(r"the table public.h had 5,000 rows when it was measured and has \d\d,\d{3} now", reason)


def test_another_plan_of_the_planner_withdraws_what_was_compared_with_the_old_one(
    connect, plain, journal, backend, measured
):
    connection = connect(serving=QUICK | {"drift_s": 3600})
    connection.serving.synchronise(schema=True)
    assert holds(journal, backend, measured)[0] == "serve"
    # One row of g instead of 600: the planner now looks each up in h.
    plain.execute("UPDATE g SET x = CASE WHEN id = 1 THEN 1 ELSE 7 END")
    plain.execute("VACUUM ANALYZE g")
    connection.serving.synchronise(schema=True)
    action, reason = holds(journal, backend, measured)
    assert (action, reason) == (
        "withdraw",
        "the planner takes another plan by default than when it was measured: not served until it is verified again",
    )
