"""DuckDB as a backend: what it refuses, how it is hinted, what its plans say."""

import json
import threading
from collections import Counter
from random import Random

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from trellis.errors import DatabaseError, HintError, QuerySyntaxError, QueryTimeoutError, SQLError, UnsafeQueryError
from trellis.sql import Join, Leading, PlanHints, compare, join_tree, parse_hints
from trellis.sql.orders import random_tree
from trellis_duckdb.backend import DuckDB
from trellis_duckdb.config import DuckDBConfig

from .conftest import DATA

SCHEMA = """
CREATE TABLE city (id int PRIMARY KEY, name varchar);
INSERT INTO city SELECT range, 'city ' || range FROM range(20);
CREATE TABLE customer (id int, city_id int, plan varchar);
INSERT INTO customer SELECT range, range * range % 20, CASE WHEN range % 3 = 0 THEN 'free' ELSE 'paid' END FROM range(300);
CREATE TABLE orders (id int, customer_id int, total double);
INSERT INTO orders SELECT range, range * 7 % 300, range / 3 FROM range(2000);
CREATE UNIQUE INDEX orders_id ON orders (id);
CREATE INDEX orders_customer ON orders (customer_id, (total + id));
CREATE SCHEMA archive;
CREATE TABLE archive.orders AS SELECT * FROM orders WHERE id < 100;
CREATE VIEW payer AS SELECT id, city_id FROM customer WHERE plan = 'paid';
CREATE VIEW city_names AS SELECT name FROM city;
CREATE VIEW noise AS SELECT random() AS x;
CREATE VIEW noise_behind_a_view AS SELECT * FROM noise;
CREATE SEQUENCE counter;
CREATE MACRO noisy(a) AS a + random();
CREATE MACRO noisier(a) AS noisy(a) + 1;
CREATE MACRO noisy_table() AS TABLE SELECT random() AS x;
CREATE MACRO doubled(a) AS 2 * a;
"""
THREE = "SELECT c.name, o.total FROM orders o, customer u, city c WHERE o.customer_id = u.id AND u.city_id = c.id AND o.id < 500"
TWINS = "SELECT count(*) AS n FROM customer a, customer b, city c WHERE a.city_id = c.id AND b.city_id = c.id AND b.plan = 'free'"
OUTER = "SELECT c.id, u.id AS uid, o.id AS oid FROM city c LEFT JOIN customer u ON u.city_id = c.id JOIN orders o ON o.id = c.id"
MIXED = (
    "WITH big AS MATERIALIZED (SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id) "
    "SELECT c.name, b.total, n.i, w.z FROM payer p JOIN city c ON p.city_id = c.id JOIN big b ON b.customer_id = p.id, "
    "generate_series(1, 4) AS n(i), (VALUES (1), (2)) AS w(z) WHERE n.i = w.z AND EXISTS "
    "(SELECT 1 FROM archive.orders r WHERE r.customer_id = p.id)"
)
QUERIES = (THREE, TWINS, OUTER, MIXED)
LONG = "SELECT count(*) FROM range(100000) a(x), range(100000) b(y), range(100000) c(z) WHERE (a.x + b.y + c.z) % 7 = 3"
ATTACKS = YAML(typ="safe").load((DATA / "duckdb_attacks.yaml").read_text(encoding="utf-8"))
MINUTE = 60_000.0


@pytest.fixture(scope="module")
def database():
    backend = DuckDB(DuckDBConfig())
    backend.connection.execute(SCHEMA)
    yield backend
    backend.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop.duckdb"
    connection = duckdb.connect(str(path))
    connection.execute(SCHEMA)
    connection.close()
    return str(path)


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    path = tmp_path_factory.mktemp("outside") / "secret.csv"
    path.write_text("word\nthe-secret-word\n")
    return path


def run(database, sql, hints=None, **settings):
    return database.execute(database.parse(sql), hints or PlanHints(), **{"timeout_ms": MINUTE, **settings})


def state(database):
    connection = database.connection
    tables = ("city", "customer", "orders", "archive.orders")
    rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    names = connection.execute(
        "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views()"
    ).fetchall()
    databases = connection.execute("SELECT database_name FROM duckdb_databases()").fetchall()
    values = connection.execute("SELECT name, value FROM duckdb_settings()").fetchall()
    sequences = connection.execute("SELECT last_value FROM duckdb_sequences()").fetchall()
    return rows, sorted(names), sorted(databases), dict(values), sequences


def named(plan):
    return Counter(node.alias for node in plan.walk() if node.alias is not None)


def leading(tree):
    return PlanHints(leading=(Leading(tree),))


# --- what it refuses


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_changes_nothing(database, secret, attack):
    stolen = secret.parent / "stolen"
    sql = attack.replace("{secret}", str(secret)).replace("{stolen}", str(stolen))
    before = state(database)
    with pytest.raises(SQLError) as caught:
        run(database, sql)
    assert "the-secret-word" not in str(caught.value)
    assert state(database) == before
    assert not stolen.exists()
    assert run(database, "SELECT id FROM city").num_rows == 20


def test_attacks_are_refused_in_reading_but_for_names_of_files(database, secret):
    late = []
    for attack in ATTACKS:
        try:
            database.parse(attack.replace("{secret}", str(secret)))
            late.append(attack)
        except (UnsafeQueryError, QuerySyntaxError):
            pass
    assert late == ["SELECT * FROM '{secret}'", 'SELECT * FROM "{secret}"']


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS x;",
        "FROM city",
        "VALUES (1), (2)",
        "(SELECT id FROM city) UNION ALL (SELECT id FROM orders) ORDER BY 1 LIMIT 3",
        "SELECT doubled(id), abs(id), lower(name), now() IS NULL FROM city",
        "SELECT count(*) FROM range(3), generate_series(1, 2), unnest([1, 2])",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t",
        "SELECT ';', '--', $$ ; DROP TABLE city $$ AS x -- ; DROP TABLE city",
        "SELECT histogram(id), id > ALL (SELECT id FROM orders) FROM city GROUP BY id",
        "SELECT * FROM archive.orders WHERE id IN (1, 2)",
    ],
)
def test_a_query_that_only_reads_is_taken(database, sql):
    assert run(database, sql).num_rows >= 1


def test_a_syntax_error_says_where(database):
    with pytest.raises(QuerySyntaxError, match="line 2, column 7") as caught:
        database.parse("SELECT 'ä',\n  1 + FROM city")
    assert (caught.value.line, caught.value.column) == (2, 7)


def test_half_a_surrogate_pair_is_refused(database):
    with pytest.raises(QuerySyntaxError, match="surrogate"):
        database.parse("SELECT '\ud800'")


@pytest.mark.parametrize("sql", ["SELECT " + "(" * 5000 + "1" + ")" * 5000, "SELECT " + "1+" * 20_000 + "1"])
def test_a_query_nested_too_deeply_is_refused(database, sql):
    with pytest.raises(QuerySyntaxError, match=r"(?i)depth|deep"):
        database.parse(sql)


def test_functions_can_be_allowed():
    backend = DuckDB(DuckDBConfig(allow_functions=("random", "duckdb_settings", "query_table")))
    backend.connection.execute(SCHEMA)
    for sql in ("SELECT random()", "SELECT noisier(1)", "SELECT * FROM noise", "SELECT * FROM duckdb_settings()"):
        assert run(backend, sql).num_rows >= 1
    assert run(backend, "SELECT * FROM main.query_table('city')").num_rows == 20
    with pytest.raises(UnsafeQueryError):
        backend.parse("SELECT uuid()")
    backend.close()


def test_a_statement_that_writes_fails_even_if_it_were_let_through(database):
    with pytest.raises(DatabaseError, match=r"(?i)read.only"):
        database._session.run("DELETE FROM city", timeout_ms=MINUTE)
    assert run(database, "SELECT id FROM city").num_rows == 20


def test_variables_of_the_caller_are_no_tables(database):
    local = [1]
    with pytest.raises(DatabaseError, match="does not exist"):
        run(database, "SELECT * FROM local")
    assert local


# --- time-outs


@pytest.mark.parametrize("timeout_ms", [0.001, 1.0, 100.0])
def test_a_timeout_is_an_answer_and_the_next_statement_runs(database, timeout_ms):
    execution = run(database, LONG, timeout_ms=timeout_ms)
    assert execution.timed_out
    assert (execution.num_rows, execution.digest, execution.latency_ms) == (None, None, timeout_ms)
    assert run(database, "SELECT id FROM city").num_rows == 20


def test_a_result_that_goes_on_for_ever_is_stopped_while_it_is_read(database):
    assert run(database, "SELECT a.x, b.y FROM range(100000) a(x), range(100000) b(y)", timeout_ms=200).timed_out


def test_measuring_a_plan_keeps_its_timeout(database):
    with pytest.raises(QueryTimeoutError) as caught:
        database.explain_json(database.parse(LONG), timeout_ms=100)
    assert caught.value.timeout_ms == 100


@pytest.mark.parametrize("timeout_ms", [0, -1, float("nan"), float("inf")])
def test_a_timeout_is_a_positive_number(database, timeout_ms):
    with pytest.raises(ValueError, match="positive number of milliseconds"):
        run(database, "SELECT 1", timeout_ms=timeout_ms)


def test_settings_are_taken_back_after_results_errors_and_timeouts(database):
    def disabled():
        return database.connection.execute("SELECT current_setting('disabled_optimizers')").fetchone()[0]

    hints = parse_hints("Leading(((c o) u))")
    assert disabled() == ""
    run(database, THREE, hints)
    assert disabled() == ""
    failing = database.parse(THREE.replace("o.total", "CAST(c.name AS int) AS n"))
    with pytest.raises(DatabaseError):
        database.execute(failing, hints, timeout_ms=MINUTE)
    assert disabled() == ""
    assert database.execute(database.parse(LONG), parse_hints("Leading((c (a b)))"), timeout_ms=50).timed_out
    assert disabled() == ""


# --- digests


def digest(database, values):
    rows = ", ".join(f"({value})" for value in values)
    return run(database, f"SELECT x FROM (VALUES {rows}) AS v(x)").digest


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_a_digest_depends_on_rows_and_how_often_they_come(database, values, seed):
    shuffled = Random(seed).sample(values, len(values))
    assert digest(database, values) == digest(database, shuffled)
    assert digest(database, values) != digest(database, [*values, values[0]])


def test_a_digest_ignores_the_order_of_many_batches(database):
    up, down = (run(database, f"SELECT range AS x FROM range(10000) ORDER BY x {way}") for way in ("ASC", "DESC"))
    assert (up.num_rows, up.digest) == (10_000, down.digest)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.1::double + 0.2", "0.3::double"),
        ("'nan'::double", "NULL::double"),
        ("''", "NULL::varchar"),
        ("[1, NULL]", "[1]"),
        ("{'a': 1}", "{'b': 1}"),
        ("'2020-01-01 00:00:00+00'::timestamptz", "'2020-01-01 00:00:01+00'::timestamptz"),
        ("1.10::decimal(10, 2)", "1.11::decimal(10, 2)"),
        ("12345678901234567890123::hugeint", "12345678901234567890124::hugeint"),
        ("'a'::blob", "'b'::blob"),
    ],
)
def test_values_that_differ_have_different_digests(database, one, other):
    digests = [run(database, f"SELECT {value} AS x").digest for value in (one, other, one)]
    assert digests[0] == digests[2] != digests[1]


# --- hints


@settings(max_examples=60, deadline=None)
@given(sql=st.sampled_from(QUERIES), seed=st.integers(0, 10_000))
def test_every_legal_order_is_obeyed_and_changes_no_result(database, sql, seed):
    query = database.parse(sql)
    tree = random_tree(query.blocks[0], Random(seed))
    hints = leading(tree)
    (verdict,) = compare(hints, database.explain(query, hints), query)
    assert verdict.status == "honoured", verdict.reason
    plain, hinted = database.execute(query, timeout_ms=MINUTE), database.execute(query, hints, timeout_ms=MINUTE)
    assert (plain.digest, plain.num_rows) == (hinted.digest, hinted.num_rows)


def test_the_right_input_is_the_build_side(database):
    query = database.parse("SELECT count(*) AS n FROM orders o, city c WHERE o.id = c.id")
    for text in ("Leading((o c))", "Leading((c o))"):
        hints = parse_hints(text)
        (verdict,) = compare(hints, database.explain(query, hints), query)
        assert verdict.status == "honoured"


def test_without_hints_the_query_itself_is_sent(database):
    statement = database.hinted(database.parse(THREE))
    assert (statement.sql, dict(statement.settings), dict(statement.untouched)) == (THREE, {}, {})


def test_what_duckdb_takes_no_hint_for_is_said(database):
    hints = parse_hints("HashJoin(o u) IndexScan(o orders_id) Set(enable_sort off)")
    statement = database.hinted(database.parse(THREE), hints)
    assert (statement.sql, dict(statement.settings)) == (THREE, {})
    assert statement.untouched.keys() == {"HashJoin(o u)", "IndexScan(o orders_id)", "Set(enable_sort off)"}
    assert all("DuckDB" in reason for reason in statement.untouched.values())


IN_A_SUBQUERY = (
    "SELECT c.name FROM city c, customer u WHERE c.id = u.city_id AND u.id IN (SELECT o.customer_id FROM {})"
)


def test_a_block_without_a_hint_keeps_the_order_duckdb_chose(database):
    query = database.parse(IN_A_SUBQUERY.format("archive.orders r, orders o WHERE o.id = r.id"))
    inner, hints = query.blocks[1].aliases, parse_hints("Leading((u c))")
    own = join_tree(database.explain(query), inner, query)
    assert own == Join("o", "r")
    assert database.hinted(query, hints).untouched == {}
    plan = database.explain(query, hints)
    assert join_tree(plan, inner, query) == own
    assert join_tree(plan, query.blocks[0].aliases, query) == Join("u", "c")


def test_a_block_whose_own_order_is_not_known_is_said(database):
    twins = IN_A_SUBQUERY.format("orders o, orders p WHERE o.id = p.id")
    statement = database.hinted(database.parse(twins), parse_hints("Leading((u c))"))
    ((path, reason),) = statement.untouched.items()
    assert "WHERE" in path
    assert "give it one as well" in reason
    both = database.hinted(database.parse(twins), parse_hints("Leading((u c)) Leading((p o))"))
    assert both.untouched == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Leading(((o u) x))", "no alias x"),
        ("Leading((o u))", "leaves out c"),
        ("IndexScan(o nowhere)", "no index nowhere"),
        ("HashJoin(o x)", "no alias x"),
    ],
)
def test_hints_that_do_not_fit_are_refused(database, text, said):
    with pytest.raises(HintError, match=said):
        database.hinted(database.parse(THREE), parse_hints(text))


# --- plans


def test_a_table_that_stands_once_has_its_alias(database):
    assert named(database.explain(database.parse(THREE))) == {"o": 1, "u": 1, "c": 1}


def test_twins_have_no_alias_without_a_hint_and_theirs_with_one(database):
    query = database.parse(TWINS)
    assert named(database.explain(query)) == {"c": 1}
    for tree in ("((b c) a)", "(a (c b))"):
        plan = database.explain(query, parse_hints(f"Leading({tree})"))
        assert named(plan) == {"a": 1, "b": 1, "c": 1}
        filtered = [node.alias for node in plan.walk() if node.alias in ("a", "b") and node.relation == "main.customer"]
        assert sorted(filtered) == ["a", "b"]


def test_a_table_that_a_view_reads_as_well_has_no_alias(database):
    query = database.parse(
        "SELECT count(*) AS n FROM payer p, customer u, orders o WHERE p.id = u.id AND o.customer_id = u.id"
    )
    assert named(database.explain(query)) == {"o": 1}
    assert named(database.explain(query, parse_hints("Leading(((o p) u))"))) == {"o": 1, "p": 1, "u": 1}


def test_tables_of_two_schemas_are_told_apart(database):
    query = database.parse("SELECT count(*) AS n FROM orders o, archive.orders r WHERE o.id = r.id")
    plan = database.explain(query)
    assert {node.alias: node.relation for node in plan.walk() if node.alias} == {
        "o": "main.orders",
        "r": "archive.orders",
    }


def test_a_cte_has_its_alias_and_its_definition_is_no_input(database):
    query = database.parse(MIXED)
    plan = database.explain(query)
    assert {"b", "c", "n", "r"} <= named(plan).keys()
    assert "o" not in named(plan)
    (cte,) = (node for node in plan.walk() if node.node == "CTE" and node.subplans)
    assert "main.orders" in {node.relation for node in cte.subplans[0].walk()}


def test_a_measured_plan_has_rows_and_times_that_hold_those_below(database):
    query = database.parse(
        "SELECT u.id, r.total FROM customer u, archive.orders r WHERE u.id = r.customer_id AND r.id > 5"
    )
    plan = database.explain(query, timeout_ms=MINUTE)
    assert plan.rows == database.execute(query, timeout_ms=MINUTE).num_rows
    for node in plan.walk():
        assert node.loops == 1
        assert node.time_ms >= sum(child.time_ms for child in node.children) - 1e-9
    assert plan.shape() == database.explain(query).shape()


def test_estimates_are_read_without_hints(database):
    scans = {node.alias: node.est_rows for node in database.explain(database.parse(THREE)).walk() if node.alias}
    assert scans["c"] == 20
    assert scans["u"] == 300


def test_the_document_is_duckdbs_own(database):
    query = database.parse(THREE)
    assert "HASH_JOIN" in str(json.loads(database.explain_json(query)))
    assert "operator" in json.loads(database.explain_json(query, timeout_ms=MINUTE))


# --- the catalog


def test_the_catalog_holds_tables_views_and_indexes(database):
    catalog = database.catalog()
    orders = catalog.table("Orders")
    assert (orders.name, orders.schema, orders.rows, orders.kind) == ("orders", "main", 2000, "table")
    assert dict(orders.columns) == {"id": "INTEGER", "customer_id": "INTEGER", "total": "DOUBLE"}
    assert orders.indexes["orders_id"].unique
    assert orders.indexes["orders_id"].columns == ("id",)
    assert len(orders.indexes["orders_customer"].columns) == 2
    assert catalog.table("archive.orders").rows == 100
    assert catalog.table("payer").kind == "view"
    assert catalog.table("payer").rows is None
    assert catalog.table("nothing") is None


def test_the_version_changes_with_the_schema_and_not_with_the_rows():
    backend = DuckDB(DuckDBConfig())
    backend.connection.execute("CREATE TABLE t (x int)")
    versions = [backend.catalog().version]
    for change in (
        "INSERT INTO t VALUES (1)",
        "CREATE INDEX i ON t (x)",
        "CREATE VIEW v AS SELECT x FROM t",
        "DROP INDEX i",
    ):
        backend.connection.execute(change)
        assert backend.catalog().version == versions[-1]
        backend.refresh()
        versions.append(backend.catalog().version)
    assert versions[0] == versions[1]
    assert len(set(versions)) == 4
    backend.close()


def test_names_are_the_same_in_upper_and_lower_case():
    backend = DuckDB(DuckDBConfig())
    backend.connection.execute(
        'CREATE TABLE "Big Orders" AS SELECT range AS "Id" FROM range(5); CREATE TABLE t AS SELECT 3 AS x'
    )
    query = backend.parse('SELECT count(*) AS n FROM "big orders" b, T WHERE b.id = T.X')
    assert named(backend.explain(query)) == {"b": 1, "t": 1}
    assert backend.execute(query, parse_hints("Leading((b t))"), timeout_ms=MINUTE).num_rows == 1
    backend.close()


# --- files, other connections


def test_a_file_is_opened_read_only(file):
    backend = DuckDB(DuckDBConfig(path=file))
    assert run(backend, THREE).num_rows == 500
    with pytest.raises(duckdb.Error, match="read-only"):
        backend.connection.execute("DELETE FROM city")
    backend.close()


def test_a_file_can_be_made_and_filled(tmp_path):
    path = str(tmp_path / "new.duckdb")
    backend = DuckDB(DuckDBConfig(path=path, read_only=False))
    backend.connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert run(backend, "SELECT x FROM t").num_rows == 1
    backend.close()
    again = DuckDB(DuckDBConfig(path=path))
    assert run(again, "SELECT x FROM t").num_rows == 1
    again.close()


def test_a_missing_file_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(DatabaseError, match=r"no such file.*read_only: false"):
        DuckDB(DuckDBConfig(path=str(tmp_path / "nothing.duckdb"))).catalog()


def test_a_file_that_is_no_database_is_an_error(secret):
    with pytest.raises(DatabaseError, match="cannot open"):
        DuckDB(DuckDBConfig(path=str(secret))).catalog()


def test_two_configurations_of_one_file_in_a_process_are_an_error(file):
    first, second = DuckDB(DuckDBConfig(path=file)), DuckDB(DuckDBConfig(path=file, threads=2))
    first.catalog()
    with pytest.raises(DatabaseError, match="same configuration"):
        second.catalog()
    first.close()


def test_who_is_alone_on_a_file_is_so_for_every_backend_on_it(file, tmp_path):
    (tmp_path / "link").symlink_to(file)
    first, second, elsewhere = (
        DuckDB(DuckDBConfig(path=file)),
        DuckDB(DuckDBConfig(path=str(tmp_path / "link"))),
        DuckDB(DuckDBConfig()),
    )
    done = {name: threading.Event() for name in ("second", "elsewhere")}

    def work(name, backend):
        run(backend, "SELECT 1")
        done[name].set()

    threads = [threading.Thread(target=work, args=pair) for pair in (("second", second), ("elsewhere", elsewhere))]
    with first.alone():
        assert run(first, "SELECT 1").num_rows == 1
        for thread in threads:
            thread.start()
        assert done["elsewhere"].wait(30)
        assert not done["second"].wait(0.2)
    assert done["second"].wait(30)
    for thread in threads:
        thread.join()
    for backend in (first, second, elsewhere):
        backend.close()


def test_threads_may_share_a_backend(database):
    found = []
    hints = parse_hints("Leading(((c o) u))")

    def work(number):
        for _ in range(5):
            found.append(run(database, THREE, hints if number % 2 else None).digest)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1


def test_what_is_not_committed_is_not_seen(database):
    database.connection.execute("BEGIN")
    database.connection.execute("INSERT INTO city VALUES (99, 'x')")
    assert run(database, "SELECT id FROM city").num_rows == 20
    database.connection.execute("ROLLBACK")


def test_a_closed_database_opens_anew_and_one_in_memory_is_empty_then(file):
    backend = DuckDB(DuckDBConfig(path=file))
    for _ in range(2):
        assert run(backend, THREE).num_rows == 500
        backend.close()
    memory = DuckDB(DuckDBConfig())
    memory.connection.execute("CREATE TABLE t (x int)")
    assert memory.catalog().table("t")
    memory.close()
    assert memory.catalog().table("t") is None
    memory.close()


def test_a_query_that_needs_more_memory_than_it_may_use_is_an_error():
    backend = DuckDB(DuckDBConfig(memory_limit="20MB"))
    with pytest.raises(DatabaseError, match=r"(?i)memory"):
        run(backend, "SELECT list(range) AS x FROM range(50000000)")
    assert run(backend, "SELECT 1").num_rows == 1
    backend.close()


@pytest.mark.parametrize("limit", ["5 bananas", "4GB'; DROP TABLE t", "80%", ""])
def test_a_memory_limit_is_a_number_of_bytes(limit):
    with pytest.raises(ValidationError):
        DuckDBConfig(memory_limit=limit)
