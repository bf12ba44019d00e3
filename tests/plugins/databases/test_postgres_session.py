"""Statements, their settings and time-outs, against a real server."""

import os
import signal
import subprocess
import threading
import time

import psycopg
import pytest

from trellis.errors import ConnectionLostError, DatabaseError, QueryTimeoutError
from trellis.sql.digest import RowDigest
from trellis_postgres.config import PostgresConfig
from trellis_postgres.server import EmbeddedServer, _module
from trellis_postgres.session import Session


def text(answer):
    return [tuple(None if value is None else value.decode() for value in row) for row in answer.rows]


def test_a_statement_answers_with_columns_and_rows(session):
    answer = session.run("SELECT 1 AS a, NULL AS b, '' AS c", timeout_ms=5000)
    assert (answer.columns, answer.rows) == ((b"a", b"b", b"c"), [(b"1", None, b"")])
    assert answer.latency_ms > 0


def test_parameters_are_values_and_no_sql(session):
    answer = session.run("SELECT $1::text", ("x'; DROP TABLE city; --",), timeout_ms=5000)
    assert text(answer) == [("x'; DROP TABLE city; --",)]


def test_two_statements_in_one_text_are_refused_by_the_protocol_itself(session):
    with pytest.raises(DatabaseError, match="multiple commands"):
        session.run("SELECT 1; SELECT 2", timeout_ms=5000)


def test_statements_run_as_the_role_that_may_only_read(session):
    assert text(session.run("SELECT current_user, session_user", timeout_ms=5000)) == [("trellis_reader",) * 2]
    for write in (
        "CREATE TABLE t (a int)",
        "CREATE TEMP TABLE t (a int)",
        "DELETE FROM city",
        "SELECT nextval('counter')",
    ):
        with pytest.raises(DatabaseError):
            session.run(write, timeout_ms=5000)


def test_a_time_out_stops_the_statement_and_not_the_session(session):
    with pytest.raises(QueryTimeoutError) as caught:
        session.run("SELECT pg_sleep(30)", timeout_ms=50)
    assert caught.value.timeout_ms == 50
    assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]


@pytest.mark.parametrize("timeout_ms", [1, 2, 3])
def test_the_smallest_time_outs_leave_the_session_usable(session, timeout_ms):
    for _ in range(20):
        with pytest.raises(QueryTimeoutError):
            session.run("SELECT count(*) FROM generate_series(1, 100000000)", timeout_ms=timeout_ms)
    assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]


@pytest.mark.parametrize("timeout_ms", [0, -1, float("nan"), float("inf")])
def test_a_time_out_that_is_none_is_refused(session, timeout_ms):
    with pytest.raises(ValueError, match="positive"):
        session.run("SELECT 1", timeout_ms=timeout_ms)


def test_what_a_statement_sets_is_gone_after_it(session):
    probe = "SELECT current_setting('statement_timeout'), current_setting('work_mem'), current_setting('search_path')"
    before = text(session.run(probe, timeout_ms=4000))
    session.run(
        "SELECT set_config('statement_timeout', '0', false), set_config('work_mem', '1GB', false), "
        "set_config('search_path', 'vault', false)",
        timeout_ms=4000,
    )
    assert text(session.run(probe, timeout_ms=4000)) == before
    assert before[0][0] == "4s"


def test_settings_hold_for_one_statement(session):
    probe = "SELECT current_setting('enable_hashjoin')"
    assert text(session.run(probe, settings={"enable_hashjoin": "off"}, timeout_ms=4000)) == [("off",)]
    assert text(session.run(probe, timeout_ms=4000)) == [("on",)]


def test_a_lock_is_not_waited_for_long(postgres_server):
    session = Session(postgres_server.dsn, PostgresConfig(lock_timeout_ms=50))
    with psycopg.connect(postgres_server.dsn("postgres")) as holder:
        holder.execute("LOCK TABLE city IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError, match="lock") as caught:
            session.run("SELECT * FROM city", timeout_ms=60_000)
        assert caught.value.sqlstate == "55P03"
        holder.rollback()
    assert len(session.run("SELECT * FROM city", timeout_ms=60_000).rows) == 20
    session.close()


def test_a_statement_cancelled_by_somebody_else_is_no_time_out(session, postgres_server):
    pid = text(session.run("SELECT pg_backend_pid()", timeout_ms=5000))[0][0]

    def cancel():
        with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
            for _ in range(200):
                running = (
                    "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND query LIKE '%%pg_sleep%%' AND state = 'active'"
                )
                if admin.execute(running, (pid,)).fetchone():
                    admin.execute("SELECT pg_cancel_backend(%s)", (pid,))
                    return
                time.sleep(0.02)

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(DatabaseError, match="user request") as caught:
        session.run("SELECT pg_sleep(30)", timeout_ms=60_000)
    thread.join()
    assert not isinstance(caught.value, QueryTimeoutError)
    assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]


def test_a_terminated_connection_is_lost_once_and_made_anew(session, postgres_server):
    pid = text(session.run("SELECT pg_backend_pid()", timeout_ms=5000))[0][0]
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(ConnectionLostError):
        session.run("SELECT 1", timeout_ms=5000)
    assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]


def test_rows_taken_by_a_digest_are_not_kept(session):
    digest = RowDigest()
    answer = session.run("SELECT i, i * 2 FROM generate_series(1, 250000) i", timeout_ms=60_000, digest=digest)
    assert (answer.rows, answer.columns, digest.num_rows) == ([], (b"i", b"?column?"), 250_000)


def test_a_superuser_is_refused_with_what_to_do(postgres_server):
    session = Session(lambda: postgres_server.dsn("postgres"), PostgresConfig())
    with pytest.raises(DatabaseError, match="trellis sql setup"):
        session.run("SELECT 1", timeout_ms=5000)
    session.close()


def test_a_superuser_may_be_allowed_or_take_a_role(postgres_server):
    def dsn():
        return postgres_server.dsn("postgres")

    allowed = Session(dsn, PostgresConfig(dsn=dsn(), allow_privileged=True))
    assert text(allowed.run("SELECT current_user", timeout_ms=5000)) == [("postgres",)]
    allowed.close()
    as_role = Session(dsn, PostgresConfig(dsn=dsn(), role="trellis_reader"))
    assert text(as_role.run("SELECT current_user", timeout_ms=5000)) == [("trellis_reader",)]
    with pytest.raises(DatabaseError, match="permission denied"):
        as_role.run("SELECT * FROM vault.secret", timeout_ms=5000)
    as_role.close()


def test_an_address_that_is_wrong_is_said_at_once(tmp_path):
    session = Session(lambda: f"host={tmp_path} dbname=nothing password=hidden", PostgresConfig())
    with pytest.raises(ConnectionLostError, match="Check the DSN") as caught:
        session.run("SELECT 1", timeout_ms=5000)
    assert "hidden" not in str(caught.value)


def test_a_setting_that_does_not_exist_is_said(postgres_server):
    session = Session(postgres_server.dsn, PostgresConfig(settings={"work_mem": "lots"}))
    with pytest.raises(DatabaseError, match="work_mem"):
        session.run("SELECT 1", timeout_ms=5000)
    session.close()


def again_and_again(call):
    """The processes of a killed server notice within moments, not at once."""
    for _ in range(1000):
        call()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_went_away_costs_the_call_in_hand_only(tmp_path, end):
    server = EmbeddedServer(str(tmp_path / "data"))
    session = Session(server.dsn, PostgresConfig())
    try:
        assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]
        if end == "stop":
            server.stop()
        else:
            os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            again_and_again(lambda: session.run("SELECT pg_sleep(0.01)", timeout_ms=5000))
        assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]
    finally:
        session.close()
        server.close()


def test_two_users_of_a_directory_share_its_server(tmp_path):
    first, second = EmbeddedServer(str(tmp_path / "data")), EmbeddedServer(str(tmp_path / "data"))
    assert first.pid == second.pid
    first.close()
    session = Session(second.dsn, PostgresConfig())
    assert text(session.run("SELECT 1", timeout_ms=5000)) == [("1",)]
    session.close()
    second.close()
    assert not (tmp_path / "data" / "postmaster.pid").exists()


def test_a_temporary_server_leaves_nothing_behind():
    server = EmbeddedServer()
    server.start()
    assert server.directory.exists()
    server.close()
    server.close()
    assert not server.directory.exists()


def test_a_server_that_is_slow_to_start_is_waited_for_and_keeps_its_directory(tmp_path, monkeypatch):
    wheel = _module().postgres_server
    pgexec = wheel.pgexec
    commands = []

    def impatient(command, arguments, **words):
        commands.append(command)
        if command == "pg_ctl" and "start" in arguments:
            # As when its ten seconds are over: pg_ctl is gone, the server goes on starting.
            pgexec(command, ("-W", *[each for each in arguments if each != "-w"]), **words)
            raise subprocess.TimeoutExpired(["pg_ctl"], 10)
        return pgexec(command, arguments, **words)

    monkeypatch.setattr(wheel, "pgexec", impatient)
    server = EmbeddedServer(str(tmp_path / "data"))
    try:
        server.start()
        assert commands == ["initdb", "pg_ctl"]
        with psycopg.connect(server.dsn("postgres")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        monkeypatch.undo()
        server.close()


def test_a_server_that_does_not_start_in_time_is_told_with_the_limit(tmp_path, monkeypatch):
    def failing(command, arguments, **words):
        raise subprocess.TimeoutExpired(["pg_ctl"], 10)

    monkeypatch.setattr(_module().postgres_server, "pgexec", failing)
    server = EmbeddedServer(str(tmp_path / "data"), start_timeout_ms=500)
    with pytest.raises(DatabaseError, match=r"does not start within 500 ms \(`start_timeout_ms`\)"):
        server.start()
