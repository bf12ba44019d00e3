import random
import time

import psycopg
import pytest

from trellis import build
from trellis.contracts import Record
from trellis.errors import ConnectionLostError, DatabaseError


@pytest.fixture(scope="module")
def dsn(postgres_server):
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE memory")
    return postgres_server.dsn("postgres") + " dbname=memory"


@pytest.fixture(params=["pgvector", "pgvector-hnsw"])
def name(request):
    return request.param


@pytest.fixture
def store(name, dsn):
    store = build(name, {"dsn": dsn, "table": name.replace("-", "_")})
    store.clear()
    yield store
    store.close()


def many(count=300):
    draw = random.Random(1)
    return [Record(f"r{i}", tuple(draw.gauss(0, 1) for _ in range(16)), {"i": i}) for i in range(count)]


def test_what_another_connection_did_is_seen(store, name, dsn):
    other = build(name, {"dsn": dsn, "table": store.config.table})
    store.add(many(5))
    assert other.count() == 5
    assert other.query(many(5)[3].vector, 1)[0].record.id == "r3"
    other.close()


def test_a_lost_connection_is_told_and_made_anew(store, dsn):
    store.add(many(2))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'memory'"
        )
    with pytest.raises(ConnectionLostError, match="cannot be reached"):
        store.count()
    assert store.count() == 2


def test_the_index_finds_nearly_what_comparing_finds(dsn):
    exact = build("pgvector", {"dsn": dsn, "table": "exact"})
    index = build("pgvector-hnsw", {"dsn": dsn, "table": "index"})
    for store in (exact, index):
        store.clear()
        store.add(many(2000))
    draw = random.Random(2)
    hits = 0
    for _ in range(10):
        asked = [draw.gauss(0, 1) for _ in range(16)]
        one, other = ({match.record.id for match in store.query(asked, 10)} for store in (exact, index))
        hits += len(one & other)
    assert hits >= 90
    assert [match.record.id for match in index.query(many()[0].vector, 3, {"i": 1234})] == ["r1234"]
    exact.close()
    index.close()
    # Statistics arrive when a connection has ended, a little later.
    until = time.monotonic() + 20
    while index_scans(dsn) == 0:
        assert time.monotonic() < until
        time.sleep(0.05)


def index_scans(dsn):
    with psycopg.connect(dsn) as connection:
        statement = "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'index_hnsw'"
        return connection.execute(statement).fetchone()[0]


def test_a_databases_administrator_is_taken_where_there_is_no_dsn(postgres):
    store = build("pgvector", {"table": "trellis_memory"}, database=postgres)
    store.clear()
    store.add(many(3))
    assert store.count() == 3
    store.clear()
    store.close()
    with psycopg.connect(postgres.admin_dsn(), autocommit=True) as connection:
        connection.execute("DROP TABLE trellis_memory")


def test_a_store_without_a_server_is_refused(name):
    with pytest.raises(DatabaseError, match="set `dsn`, or give it the need `database`"):
        build(name)


def test_a_server_that_is_not_there_is_told(name):
    store = build(name, {"dsn": "host=127.0.0.1 port=1 connect_timeout=2"})
    with pytest.raises(ConnectionLostError, match="cannot be reached"):
        store.count()
    store.close()


def test_a_role_that_may_not_install_pgvector_is_told_who_may(postgres_server):
    administrator = postgres_server.dsn("postgres")
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain_user LOGIN")
        connection.execute("CREATE DATABASE bare")
    store = build("pgvector", {"dsn": administrator + " dbname=bare options='-c role=plain_user'"})
    with pytest.raises(DatabaseError, match="have an administrator say CREATE EXTENSION vector"):
        store.count()
    store.close()
