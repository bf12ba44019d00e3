"""Situations without a server, and one embedded PostgreSQL with a small shop for real ones."""

from pathlib import Path

import psycopg
import pytest

from trellis import Neighbour, Problem, Situation, Tried
from trellis.sql import Catalog, Index, JoinMethod, Plan, ScanMethod, Table, parse_hints
from trellis.sql.reader import parse_query

SHOP = Path(__file__).parents[1] / "databases" / "data" / "shop.sql"
CATALOG = Catalog(
    {
        "users": Table("users", rows=1000, indexes={"users_pkey": Index("users_pkey", ("id",), unique=True)}),
        "posts": Table("posts", rows=64000),
        "votes": Table("votes"),
        "tags": Table("tags"),
    }
)
CHAIN = (
    "SELECT count(*) FROM users u, posts p, votes v, tags t WHERE u.id = p.owner AND v.post = p.id AND t.post = p.id "
    "AND u.age > 30"
)
RENAMED = (
    "SELECT count(*) FROM users a, posts b, votes c, tags d WHERE a.id = b.owner AND c.post = b.id AND d.post = b.id "
    "AND a.age > 60"
)
OTHER = (
    "SELECT count(*) FROM posts x, votes y, users z WHERE y.post = x.id AND z.id = x.owner AND z.age < 5 AND x.day > 3"
)
OUTER = (
    "SELECT count(*) FROM users u JOIN votes v ON v.voter = u.id LEFT JOIN (posts p JOIN tags t ON t.post = p.id) "
    "ON p.owner = u.id"
)


def scan(alias, table, method=ScanMethod.SEQ):
    return Plan(str(method), scan=method, alias=alias, relation=table, est_rows=10.0)


def joined(outer, inner, method=JoinMethod.HASH):
    return Plan(str(method), join=method, join_type="inner", children=(outer, inner), cost=100.0)


PLANS = {
    CHAIN: joined(
        joined(joined(scan("u", "users"), scan("p", "posts")), scan("v", "votes"), JoinMethod.NEST_LOOP),
        scan("t", "tags"),
    ),
    OUTER: joined(joined(scan("u", "users"), scan("v", "votes")), joined(scan("p", "posts"), scan("t", "tags"))),
}


@pytest.fixture
def scene():
    def make(sql=CHAIN, *, tried=(), neighbours=(), plan_of=lambda _: None):
        asked = parse_query(sql)
        return Situation(
            Problem("q1", sql),
            asked,
            CATALOG,
            PLANS[sql],
            tried=tuple(tried),
            neighbours=lambda k: list(neighbours)[:k],
            plan_of=plan_of,
        )

    return make


def measured(hints, speedup, source=""):
    return Tried(parse_hints(hints), speedup, "faster" if speedup > 1 else "slower", source=source)


def neighbour(sql, hints, speedup=2.0, similarity=0.9, *, same=True):
    return Neighbour(parse_query(sql), similarity, measured(hints, speedup), same)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    from trellis import build

    directory = str(tmp_path_factory.mktemp("proposers") / "postgres")
    backend = build("postgres", {"directory": directory, "database": "shop"})
    backend.server.start()
    with psycopg.connect(backend.server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(SHOP.read_text(encoding="utf-8"))
    yield backend
    backend.close()


REAL = (
    "SELECT count(*) FROM customer u, orders o, item i, city c WHERE u.id = o.customer_id AND o.id = i.order_id "
    "AND c.id = u.city_id AND u.id < 50"
)


@pytest.fixture
def real(shop):
    query = shop.parse(REAL)
    return Situation(
        Problem("q", REAL),
        query,
        shop.catalog(),
        shop.explain(query),
        plan_of=lambda hints: shop.explain(query, hints),
    )


@pytest.fixture(name="measured")
def measured_fixture():
    return measured


@pytest.fixture(name="neighbour")
def neighbour_fixture():
    return neighbour


@pytest.fixture
def chains():
    return {"chain": CHAIN, "renamed": RENAMED, "other": OTHER, "outer": OUTER}
