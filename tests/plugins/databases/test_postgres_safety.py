"""Attacks and malformed inputs, each against the real server: refused, nothing written, nothing leaked, connection usable."""

import codecs

import psycopg
import pytest
from ruamel.yaml import YAML

from trellis import errors
from trellis.sql import parse_hints
from trellis_postgres.config import PostgresConfig
from trellis_postgres.session import Session

from .conftest import DATA

ATTACKS = YAML(typ="safe").load((DATA / "postgres_attacks.yaml").read_text(encoding="utf-8"))
HINTED = 'SELECT c.id FROM city c JOIN customer u ON u.city_id = c.id JOIN orders "*/ o" ON "*/ o".customer_id = u.id'
SECRETS = ("the-secret-word", "the-secret-file", "root:x:0:0")
STATE = """
SELECT json_build_array(
  (SELECT json_agg(json_build_array(oid, relname, relkind, relowner, relacl, relfilenode) ORDER BY oid) FROM pg_class),
  (SELECT json_agg(json_build_array(oid, proname, prosrc, proowner) ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
  (SELECT json_agg(json_build_array(oid, rolname, rolsuper, rolconfig, rolcanlogin) ORDER BY oid) FROM pg_roles),
  (SELECT json_agg(json_build_array(roleid, member) ORDER BY roleid, member) FROM pg_auth_members),
  (SELECT json_agg(json_build_array(datname, datacl) ORDER BY oid) FROM pg_database),
  (SELECT json_agg(json_build_array(setdatabase, setrole, setconfig)) FROM pg_db_role_setting),
  (SELECT count(*) FROM pg_largeobject_metadata),
  (SELECT json_build_array(last_value, is_called) FROM counter),
  (SELECT json_agg(line) FROM log), (SELECT json_agg(c ORDER BY id) FROM city c), (SELECT json_agg(word) FROM vault.secret)
)::text
"""


def content(attack):
    if "escaped" in attack:
        return codecs.decode(attack["escaped"].encode(), "unicode_escape")
    if "repeated" in attack:
        before, times, what, after = attack["repeated"]
        return before + what * times + after
    return attack["text"]


def named(attacks):
    return [pytest.param(attack, id=attack["name"]) for attack in attacks]


QUERIES = named(attack for attack in ATTACKS if attack["kind"] == "query")
HINTS = named(attack for attack in ATTACKS if attack["kind"] == "hint")


@pytest.fixture(scope="module")
def state(postgres_server):
    """Returns a function that reads everything an attack could have changed."""
    secret = postgres_server.directory / "secret.txt"
    secret.write_text("the-secret-file", encoding="utf-8")
    secret.chmod(0o644)
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        yield lambda: admin.execute(STATE).fetchone()


@pytest.fixture(scope="module")
def truth(postgres):
    return postgres.execute(postgres.parse("SELECT id, name FROM city"), timeout_ms=60_000).digest


def usable(postgres, truth):
    execution = postgres.execute(postgres.parse("SELECT id, name FROM city"), timeout_ms=60_000)
    return execution.digest == truth and execution.num_rows == 20


def refused(attack, error):
    assert isinstance(error, getattr(errors, attack["error"])), repr(error)
    said = str(error)
    assert any(part.lower() in said.lower() for part in attack.get("says", "").split("|")), said
    assert len(said) < 2000
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.parametrize("attack", QUERIES)
def test_a_query_is_refused_and_leaves_no_trace(attack, postgres, state, truth):
    before = state()
    with pytest.raises(errors.TrellisError) as caught:
        postgres.execute(postgres.parse(content(attack)), timeout_ms=5000)
    refused(attack, caught.value)
    assert state() == before
    assert usable(postgres, truth)


@pytest.mark.parametrize("attack", HINTS)
def test_a_hint_is_refused_and_leaves_no_trace(attack, postgres, state, truth):
    before = state()
    query = postgres.parse(HINTED)
    with pytest.raises(errors.TrellisError) as caught:
        postgres.execute(query, parse_hints(content(attack)), timeout_ms=5000)
    refused(attack, caught.value)
    assert state() == before
    assert usable(postgres, truth)


def can_be_sent(text):
    """Neither a NUL nor half of a surrogate pair has a place in what goes to a server."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


@pytest.mark.parametrize("attack", [one for one in QUERIES if can_be_sent(content(one.values[0]))])
def test_the_server_alone_lets_nothing_be_written_or_leak(attack, postgres_server, state):
    """Had every check of the text failed, the protocol, the transaction and the role still stand."""
    text = content(attack)
    before = state()
    session = Session(postgres_server.dsn, PostgresConfig())
    try:
        try:
            rows = session.run(text, timeout_ms=300).rows
        except errors.DatabaseError as error:
            rows = [(str(error).encode(),)]
        assert session.run("SELECT 1", timeout_ms=5000).rows == [(b"1",)]
    finally:
        session.close()
    assert state() == before
    assert [secret for secret in SECRETS if secret in repr(rows)] == []


def test_an_alias_that_ends_a_comment_is_no_way_out(postgres, state, truth):
    # An attack may have ended every connection of the role that it runs as: that is its right.
    postgres._session.close()
    before = state()
    query = postgres.parse(HINTED)
    expected = postgres.execute(query, timeout_ms=60_000).digest
    hints = parse_hints('Leading(((c u) "*/ o"))')
    assert postgres.execute(query, hints, timeout_ms=60_000).digest == expected
    assert state() == before


def test_what_is_allowed_by_name_runs(postgres_server):
    from trellis_postgres.backend import Postgres

    allowed = ("pg_sleep", "public.write_log", "clock_timestamp")
    backend = Postgres(
        PostgresConfig(directory=str(postgres_server.directory), database="shop", allow_functions=allowed)
    )
    assert backend.execute(backend.parse("SELECT clock_timestamp(), pg_sleep(0)"), timeout_ms=60_000).num_rows == 1
    with pytest.raises(errors.DatabaseError, match="read-only"):
        backend.execute(backend.parse("SELECT write_log('x')"), timeout_ms=60_000)
    assert backend.execute(backend.parse("SELECT pg_sleep(60)"), timeout_ms=50).timed_out
    assert usable(backend, backend.execute(backend.parse("SELECT id, name FROM city"), timeout_ms=60_000).digest)
    backend.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT now(), current_date, version()",
        "SELECT double_up(id) FROM city",
        "SELECT 'pg_read_file(' || $$nextval('counter')$$ AS text, E'it\\'s; DROP TABLE city'",
        "SELECT id AS nextval, name AS pg_sleep FROM city -- pg_sleep(1); DELETE",
        'SELECT "semi;colon" FROM "Odd Name"',
        "TABLE city",
        "VALUES (1, 'a'), (2, NULL);",
        "(SELECT 1) UNION (SELECT 2) ORDER BY 1",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n",
        "SELECT * FROM open_order o JOIN region_size r ON true /* a comment /* in a comment */ */",
        "SELECT count(*) FILTER (WHERE status = 'open') OVER (PARTITION BY customer_id) FROM orders",
    ],
)
def test_what_only_reads_is_let_through(sql, postgres):
    execution = postgres.execute(postgres.parse(sql), timeout_ms=60_000)
    assert execution.digest is not None


def test_the_corpus_is_large_enough():
    assert len(ATTACKS) >= 60
    assert len({attack["name"] for attack in ATTACKS}) == len(ATTACKS)
