"""The backend on a real server: catalog, plans, executions, hints."""

import json
import os
import random
import signal

import psycopg
import pytest

from trellis.errors import CapabilityError, ConnectionLostError, HintError, QueryTimeoutError
from trellis.sql import JoinMethod, PlanHints, ScanMethod, compare, parse_hints, random_hints
from trellis_postgres.backend import Postgres
from trellis_postgres.config import PostgresConfig
from trellis_postgres.plan import parse_plan

JOINED = (
    "SELECT c.name, count(*) FROM city c, customer u, orders o, item i "
    "WHERE u.city_id = c.id AND o.customer_id = u.id AND i.order_id = o.id AND c.region = 'north' GROUP BY c.name"
)
MINUTE = 60_000


def planned(postgres, sql, *, timeout_ms=None, **settings):
    options = "FORMAT JSON" if timeout_ms is None else "FORMAT JSON, ANALYZE"
    run = postgres._session.run
    (row,) = run(f"EXPLAIN ({options}) {sql}", settings=settings, timeout_ms=timeout_ms or MINUTE).rows
    return parse_plan(row[0])


def nodes(plan):
    return {node.node for node in plan.walk()}


# --- catalog


def test_the_catalog_holds_tables_with_their_columns_and_sizes(postgres):
    catalog = postgres.catalog()
    city = catalog.table("city")
    assert (city.schema, city.kind, city.rows) == ("public", "table", 20)
    assert dict(city.columns) == {"id": "integer", "name": "text", "region": "text"}
    assert catalog.table("public.city") is catalog.table("CITY") is city
    assert {catalog.table(name).kind for name in ("open_order", "region_size", "visit")} == {
        "view", "materialized view", "partitioned table",
    }  # fmt: skip
    assert list(catalog.table("Odd Name").columns) == ["Big", "semi;colon"]


def test_the_catalog_holds_indexes(postgres):
    orders = postgres.catalog().table("orders").indexes
    assert set(orders) == {"orders_pkey", "orders_customer", "orders_status"}
    assert orders["orders_pkey"].unique
    assert orders["orders_status"].columns == ("status", "placed")
    assert postgres.catalog().table("customer").indexes["customer_name"].columns == ("lower(name)",)


def test_the_catalog_shows_nothing_that_the_role_may_not_read(postgres):
    assert [name for name in postgres.catalog().tables if "secret" in name or name.startswith("pg_")] == []


def test_the_version_changes_with_the_schema_only(postgres, postgres_server):
    before = postgres.catalog().version
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("ANALYZE city")
        postgres.refresh()
        assert postgres.catalog().version == before
        admin.execute("CREATE INDEX temporary_index ON city (name)")
        try:
            assert postgres.catalog().version == before
            postgres.refresh()
            assert postgres.catalog().version != before
        finally:
            admin.execute("DROP INDEX temporary_index")
    postgres.refresh()
    assert postgres.catalog().version == before


def test_the_search_path_decides_which_table_a_name_is(postgres_server):
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other.city (id int)")
    config = PostgresConfig(directory=str(postgres_server.directory), database="shop", search_path="other, public")
    backend = Postgres(config)
    assert backend.catalog().table("city").schema == "other"
    assert backend.execute(backend.parse("SELECT * FROM city"), timeout_ms=MINUTE).num_rows == 0
    backend.close()


# --- plans


@pytest.mark.parametrize(
    ("method", "off"),
    [
        (JoinMethod.NEST_LOOP, {"enable_hashjoin": "off", "enable_mergejoin": "off"}),
        (JoinMethod.HASH, {"enable_nestloop": "off", "enable_mergejoin": "off"}),
        (JoinMethod.MERGE, {"enable_nestloop": "off", "enable_hashjoin": "off"}),
    ],
)
def test_a_join_has_its_method_type_and_inputs(postgres, method, off):
    plan = planned(postgres, "SELECT * FROM customer u LEFT JOIN orders o ON o.customer_id = u.id", **off)
    (join,) = [node for node in plan.walk() if node.join]
    assert (join.join, join.aliases()) == (method, {"u", "o"})
    assert join.join_type in ("left", "right")
    assert len(join.children) == 2


@pytest.mark.parametrize(
    ("sql", "method", "index", "settings"),
    [
        ("SELECT * FROM orders o", ScanMethod.SEQ, None, {}),
        ("SELECT * FROM orders o WHERE id = 7", ScanMethod.INDEX, "orders_pkey", {}),
        ("SELECT id FROM orders o WHERE id = 7", ScanMethod.INDEX_ONLY, "orders_pkey", {"enable_bitmapscan": "off"}),
        (
            "SELECT * FROM orders o WHERE customer_id = 7",
            ScanMethod.BITMAP,
            "orders_customer",
            {"enable_indexscan": "off"},
        ),
    ],
)
def test_a_scan_has_its_method_alias_and_index(postgres, sql, method, index, settings):
    plan = planned(postgres, sql, enable_seqscan="on" if method is ScanMethod.SEQ else "off", **settings)
    (scan,) = [node for node in plan.walk() if node.scan]
    assert (scan.scan, scan.alias, scan.relation, scan.index) == (method, "o", "orders", index)


def test_a_bitmap_scan_of_two_indexes_names_neither(postgres):
    sql = "SELECT * FROM orders o WHERE id = 5 OR customer_id = 7"
    plan = planned(postgres, sql, enable_seqscan="off", enable_indexscan="off")
    (scan,) = [node for node in plan.walk() if node.scan]
    assert "BitmapOr" in nodes(plan)
    assert (scan.scan, scan.index) == (ScanMethod.BITMAP, None)


def test_subqueries_and_ctes_are_subplans_and_no_inputs(postgres):
    plan = planned(
        postgres,
        "WITH best AS MATERIALIZED (SELECT max(score) AS top FROM customer x) SELECT * FROM customer u "
        "WHERE score = (SELECT top FROM best) OR id = (SELECT min(y.id) FROM city y WHERE y.id >= u.city_id)",
    )
    assert {"x", "y"}.isdisjoint(plan.aliases())
    assert {"x", "y", "u"} <= {node.alias for node in plan.walk()}
    assert "CTE Scan" in nodes(plan)


def test_a_union_appends_and_a_partition_has_its_tables_alias(postgres):
    plan = planned(postgres, "SELECT id FROM city a UNION ALL SELECT id FROM customer b")
    assert (plan.node, plan.aliases()) == ("Append", {"a", "b"})
    for condition in ("true", "day < '2025-01-01'"):
        query = postgres.parse(f"SELECT count(*) FROM visit v WHERE {condition}")
        assert postgres.explain(query).aliases() == {"v"}


def test_a_plan_that_ran_has_rows_loops_and_times(postgres):
    query = postgres.parse("SELECT id FROM city c WHERE id < 0 AND id IN (SELECT max(u.id) FROM customer u)")
    estimated, measured = postgres.explain(query), postgres.explain(query, timeout_ms=MINUTE)
    assert {(node.rows, node.loops, node.time_ms) for node in estimated.walk()} == {(None, None, None)}
    assert (measured.rows, measured.loops) == (0.0, 1.0)
    assert measured.time_ms > 0
    assert any(node.loops == 0 for node in measured.walk())


def test_plans_have_no_parallel_workers_unless_asked_for(postgres):
    eager = {"parallel_setup_cost": "0", "parallel_tuple_cost": "0", "min_parallel_table_scan_size": "0"}
    assert "Gather" not in nodes(planned(postgres, "SELECT count(*) FROM item", **eager))
    plan = planned(postgres, "SELECT count(*) FROM item", **eager, max_parallel_workers_per_gather="2")
    assert "Gather" in nodes(plan)


def test_the_raw_plan_is_what_viewers_read(postgres):
    (document,) = json.loads(postgres.explain_json(postgres.parse(JOINED), timeout_ms=MINUTE))
    assert {"Plan", "Planning Time", "Execution Time", "Settings"} <= document.keys()
    assert "Shared Hit Blocks" in document["Plan"]
    (document,) = json.loads(postgres.explain_json(postgres.parse(JOINED)))
    assert "Execution Time" not in document


def test_measuring_a_plan_stops_in_time(postgres):
    query = postgres.parse("SELECT count(*) FROM item a, item b, item c")
    with pytest.raises(QueryTimeoutError):
        postgres.explain(query, timeout_ms=50)


# --- executions


def digest(postgres, sql):
    return postgres.execute(postgres.parse(sql), timeout_ms=MINUTE).digest


def test_a_digest_ignores_the_order_of_rows_and_nothing_else(postgres):
    ascending = digest(postgres, "SELECT id, name FROM city ORDER BY id")
    assert ascending == digest(postgres, "SELECT id, name FROM city ORDER BY id DESC")
    assert ascending != digest(postgres, "SELECT id, name FROM city WHERE id > 1")
    assert ascending != digest(postgres, "SELECT name, id FROM city")
    assert ascending != digest(postgres, "SELECT id, name AS title FROM city")
    assert digest(postgres, "VALUES (1), (1), (2)") != digest(postgres, "VALUES (1), (2), (2)")
    assert digest(postgres, "SELECT ''::text AS a") != digest(postgres, "SELECT NULL::text AS a")
    assert digest(postgres, "SELECT 0.1::float8 + 0.2 AS a") != digest(postgres, "SELECT 0.3::float8 AS a")


def test_a_digest_can_round_floating_point_numbers(postgres_server):
    config = PostgresConfig(directory=str(postgres_server.directory), database="shop", extra_float_digits=0)
    backend = Postgres(config)
    assert digest(backend, "SELECT 0.1::float8 + 0.2 AS a") == digest(backend, "SELECT 0.3::float8 AS a")
    backend.close()


def test_a_time_out_is_an_answer(postgres):
    execution = postgres.execute(postgres.parse("SELECT count(*) FROM item a, item b, item c"), timeout_ms=50)
    assert execution.timed_out
    assert (execution.latency_ms, execution.num_rows, execution.digest) == (50, None, None)
    assert postgres.execute(postgres.parse("SELECT 1"), timeout_ms=MINUTE).num_rows == 1


def again_and_again(call):
    """The processes of a killed server notice within moments, not at once."""
    for _ in range(1000):
        call()


def test_a_killed_server_costs_one_call_and_comes_back(tmp_path):
    backend = Postgres(PostgresConfig(directory=str(tmp_path / "data")))
    try:
        query = backend.parse("SELECT 1 AS a")
        before = backend.execute(query, timeout_ms=MINUTE).digest
        os.kill(backend.server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            again_and_again(lambda: backend.execute(query, timeout_ms=MINUTE))
        assert backend.execute(query, timeout_ms=MINUTE).digest == before
    finally:
        backend.close()


def test_a_closed_backend_can_be_closed_again_and_used_again(postgres_server):
    backend = Postgres(PostgresConfig(directory=str(postgres_server.directory), database="shop"))
    backend.close()
    assert digest(backend, "SELECT 1") is not None
    backend.close()
    backend.close()


# --- hints


def test_without_hints_the_querys_own_text_is_sent(postgres):
    statement = postgres.hinted(postgres.parse(JOINED))
    assert (statement.sql, dict(statement.settings), dict(statement.untouched)) == (JOINED, {}, {})


def test_every_join_order_gives_the_same_result_and_is_obeyed(postgres):
    query, rng = postgres.parse(JOINED), random.Random(7)
    expected = postgres.execute(query, timeout_ms=MINUTE).digest
    for _ in range(20):
        hints = random_hints(query, rng, catalog=postgres.catalog())
        assert postgres.execute(query, hints, timeout_ms=MINUTE).digest == expected
        plan = postgres.explain(query, hints)
        (leading,) = [verdict for verdict in compare(hints, plan, query) if verdict.hint in hints.leading]
        assert leading.same_tree, (str(hints), leading.reason)


def test_a_method_for_all_joins_is_asked_for_and_for_one_is_said_to_be_untouched(postgres):
    query = postgres.parse(JOINED)
    alike = parse_hints("MergeJoin(c u) MergeJoin(c u o) MergeJoin(c u o i) Leading((((c u) o) i))")
    statement = postgres.hinted(query, alike)
    assert statement.untouched == {}
    assert {verdict.status for verdict in compare(alike, postgres.explain(query, alike), query)} <= {
        "honoured",
        "partly",
    }
    mixed = parse_hints("MergeJoin(c u) HashJoin(c u o) SeqScan(c) Leading((((c u) o) i))")
    assert set(postgres.hinted(query, mixed).untouched) == {"MergeJoin(c u)", "HashJoin(c o u)", "SeqScan(c)"}


def test_a_method_for_all_scans_is_asked_for(postgres):
    query = postgres.parse("SELECT id FROM orders o WHERE id = 7")
    for method in ScanMethod:
        hints = parse_hints(f"{method}(o)")
        assert postgres.hinted(query, hints).untouched == {}
        assert postgres.explain(query, hints).scan is method
    assert set(postgres.hinted(query, parse_hints("IndexScan(o orders_pkey)")).untouched) == {
        "IndexScan(o orders_pkey)"
    }


def test_switches_are_settings_of_one_statement(postgres):
    query = postgres.parse("SELECT * FROM customer u JOIN orders o ON o.customer_id = u.id")
    before = nodes(postgres.explain(query))
    hints = parse_hints("Set(enable_hashjoin off) Set(enable_nestloop off)")
    assert postgres.hinted(query, hints).settings == {"enable_hashjoin": "off", "enable_nestloop": "off"}
    assert "Merge Join" in nodes(postgres.explain(query, hints))
    assert nodes(postgres.explain(query)) == before


def test_hints_that_contradict_each_other_are_said_to_be_untouched(postgres):
    query = postgres.parse("SELECT * FROM customer u JOIN orders o ON o.customer_id = u.id")
    hints = parse_hints("HashJoin(u o) Set(enable_hashjoin off)")
    assert set(postgres.hinted(query, hints).untouched) == {"HashJoin(o u)"}


@pytest.mark.parametrize("hints", ["SeqScan(nobody)", "IndexScan(o nowhere)", "Leading((o nobody))"])
def test_hints_that_do_not_fit_are_refused(postgres, hints):
    with pytest.raises(HintError):
        postgres.hinted(
            postgres.parse("SELECT * FROM customer u JOIN orders o ON o.customer_id = u.id"), parse_hints(hints)
        )


def test_an_empty_hint_is_no_hint(postgres):
    assert postgres.hinted(postgres.parse("SELECT 1"), PlanHints()).sql == "SELECT 1"


def test_a_dialect_that_the_server_cannot_do_is_said(postgres_server):
    for dialect in ("pg_hint_plan", "pg_plan_advice"):
        config = PostgresConfig(directory=str(postgres_server.directory), database="shop", dialect=dialect)
        backend = Postgres(config)
        with pytest.raises(CapabilityError, match="dialect: rewrite"):
            backend.catalog()
        backend.close()


def test_the_embedded_server_takes_the_dialect_that_needs_nothing(postgres):
    assert postgres.hint_dialect.name == "rewrite"
    assert postgres.capabilities == {"join-order", "join-method", "buffers"}
    assert postgres.server_version >= 180000
    with pytest.raises(CapabilityError, match="compare"):
        postgres.hint_reports(postgres.parse("SELECT 1 FROM city c"), parse_hints("SeqScan(c)"))
