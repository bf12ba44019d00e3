"""The dialect pg_hint_plan on a server that has it: set TRELLIS_TEST_DSN to an administrator's DSN of one made for tests."""

import os
import random

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from trellis.errors import CapabilityError
from trellis.sql import compare, parse_hints, random_hints
from trellis_postgres.backend import Postgres
from trellis_postgres.config import PostgresConfig
from trellis_postgres.setup import ROLE, setup_role

from .conftest import DATA

DSN = os.environ.get("TRELLIS_TEST_DSN", "")
MINUTE = 60_000
JOINED = (
    'SELECT c.name, count(*) FROM city c, customer u, orders o, item "I (x" '
    'WHERE u.city_id = c.id AND o.customer_id = u.id AND "I (x".order_id = o.id GROUP BY c.name'
)

pytestmark = pytest.mark.skipif(not DSN, reason="TRELLIS_TEST_DSN names no server")


@pytest.fixture(scope="module")
def hinting():
    name = f"trellis_test_{os.getpid()}"
    with psycopg.connect(DSN, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            dsn = make_conninfo(DSN, dbname=name)
            setup_role(dsn)
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute((DATA / "shop.sql").read_text(encoding="utf-8"))
            backend = Postgres(PostgresConfig(dsn=dsn, role=ROLE, dialect="pg_hint_plan"))
            try:
                backend.catalog()
                yield backend
            except CapabilityError as error:
                pytest.skip(str(error))
            finally:
                backend.close()
        finally:
            admin.execute(f"DROP DATABASE {name}")


def test_random_hints_keep_the_result_and_decide_order_sides_and_methods(hinting):
    query, rng = hinting.parse(JOINED), random.Random(3)
    expected = hinting.execute(query, timeout_ms=MINUTE).digest
    for _ in range(20):
        hints = random_hints(query, rng, catalog=hinting.catalog(), scans=False)
        assert hinting.execute(query, hints, timeout_ms=MINUTE).digest == expected
        ignored = [v for v in compare(hints, hinting.explain(query, hints), query) if v.status != "honoured"]
        # A merge or hash join of a cross product does not exist, and a nested loop is made instead.
        assert [(str(hints), str(v.hint), v.reason) for v in ignored] == []


def test_what_became_of_each_hint_is_read_back(hinting):
    hints = parse_hints('SeqScan(c) IndexScan("I (x" item_pkey) HashJoin(c u) Leading((((u c) o) "I (x"))')
    reports = hinting.hint_reports(hinting.parse(JOINED), hints)
    assert {report.hint: report.state for report in reports} == {str(hint): "used" for hint in hints}
    unused = hinting.hint_reports(hinting.parse(JOINED), parse_hints("HashJoin(c o)"))
    assert {report.state for report in unused} <= {"used", "not used"}


def test_hints_end_with_their_statement(hinting):
    query = hinting.parse("SELECT * FROM orders o WHERE id = 7")
    before = hinting.explain(query)
    assert hinting.explain(query, parse_hints("SeqScan(o)")).node == "Seq Scan"
    assert hinting.explain(query) == before


def test_an_alias_that_ends_the_comment_is_refused(hinting):
    from trellis.errors import HintError

    query = hinting.parse('SELECT * FROM city "*/ DELETE"')
    with pytest.raises(HintError, match="comment"):
        hinting.execute(query, parse_hints('SeqScan("*/ DELETE")'), timeout_ms=MINUTE)
