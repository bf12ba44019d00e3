import logging
import subprocess
import sys

import pytest

from trellis.errors import QuerySyntaxError, UnsafeQueryError
from trellis.sql.catalog import Catalog, Table
from trellis.sql.query import Edge, OuterJoin
from trellis.sql.reader import parse_query, parse_safe


def edges(block):
    return {(" ".join(sorted(edge.aliases)), edge.condition) for edge in block.edges}


def test_relations_edges_and_filters_of_a_block():
    (block,) = parse_query(
        "SELECT count(*) FROM A, s.B AS bb WHERE 3 < a.Z AND bb.x = a.x AND a.x + bb.y > 2 AND (a.y = 1 OR a.y IS NULL) AND 1 = 1"
    ).blocks
    assert [(r.alias, r.name, r.kind, r.hintable) for r in block.relations] == [
        ("a", "a", "table", True),
        ("bb", "s.b", "table", True),
    ]
    assert edges(block) == {("a bb", "a.x = bb.x"), ("a bb", "a.x + bb.y > 2")}
    assert block.filters == {"a": ("3 < a.z", "a.y = 1 OR a.y IS NULL")}


def test_blocks_stand_in_order_and_know_their_parents():
    query = parse_query(
        "WITH best AS (SELECT x FROM a) SELECT (SELECT 1 FROM b) FROM best, (SELECT 2 FROM c UNION SELECT 3 FROM d) u "
        "WHERE EXISTS (SELECT 4 FROM e WHERE e.x = best.x)"
    )
    assert [(block.id, block.path, block.parent) for block in query.blocks] == [
        (0, "the query", None),
        (1, "the CTE best", 0),
        (2, "the subquery u in FROM", 0),
        (3, "the right arm of UNION in the subquery u in FROM", 0),
        (4, "a subquery in SELECT", 0),
        (5, "a subquery in WHERE", 0),
    ]
    best, union = query.blocks[0].relations
    assert (best.kind, best.name, best.block) == ("cte", "best", 1)
    assert (union.kind, union.name, union.block) == ("subquery", None, 2)


def test_every_kind_of_from_item():
    (block,) = parse_query(
        "SELECT 1 FROM t, (VALUES (1, 2)) v(a, b), generate_series(1, 3) AS g(n), pg_catalog.f(2), unnest(ARRAY[1]) u"
    ).blocks
    assert [(r.alias, r.kind) for r in block.relations] == [
        ("t", "table"),
        ("v", "values"),
        ("g", "function"),
        ("f", "function"),
        ("u", "function"),
    ]


def test_outer_joins_say_what_they_need():
    (block,) = parse_query(
        "SELECT 1 FROM a LEFT JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x AND a.y = 1 AND c.y = 2, d RIGHT JOIN e ON e.x = d.x"
    ).blocks
    assert block.outer_joins == (
        OuterJoin(frozenset("bc"), frozenset("a"), "a.x = b.x AND a.y = 1 AND b.x = c.x AND c.y = 2"),
        OuterJoin(frozenset("d"), frozenset("e"), "d.x = e.x"),
    )
    assert Edge(frozenset("bc"), "b.x = c.x") in block.edges
    assert block.filters == {"c": ("c.y = 2",)}
    assert block.fixed == ""


def test_a_comma_binds_weaker_than_a_join():
    (block,) = parse_query("SELECT 1 FROM a, b RIGHT JOIN c ON b.x = c.x").blocks
    assert block.outer_joins == (OuterJoin(frozenset("b"), frozenset("c"), "b.x = c.x"),)


def test_unqualified_columns_belong_to_whom_the_catalog_says():
    sql = "SELECT 1 FROM a, b WHERE p = q AND p > 1"
    assert parse_query(sql).blocks[0].edges == ()
    assert parse_query(sql).blocks[0].filters == {}
    tables = {"a": Table("a", columns={"p": "int"}), "b": Table("b", columns={"q": "int"})}
    block = parse_query(sql, catalog=Catalog(tables, version="1")).blocks[0]
    assert edges(block) == {("a b", "a.p = b.q")}
    assert block.filters == {"a": ("a.p > 1",)}


def test_a_subquery_s_columns_are_known_without_a_catalog():
    block = parse_query("SELECT 1 FROM (SELECT x AS p FROM a) s, (SELECT y FROM b) t WHERE p = y").blocks[0]
    assert edges(block) == {("s t", "s.p = t.y")}


def test_a_correlated_predicate_joins_no_relations_of_the_inner_block():
    outer, inner = parse_query("SELECT 1 FROM a, b WHERE EXISTS (SELECT 1 FROM c WHERE c.x = a.x AND c.y = b.y)").blocks
    assert [edge.aliases for edge in outer.edges] == [frozenset("ab")]
    assert inner.edges == ()
    assert inner.filters == {"c": ("a.x = c.x", "b.y = c.y")}


def test_using_is_an_edge_where_the_catalog_knows_the_columns(catalog):
    (block,) = parse_query(
        "SELECT item_id FROM item NATURAL JOIN tag JOIN sale USING (item_id)", catalog=catalog
    ).blocks
    assert ("item sale", "item.item_id = sale.item_id") in edges(block)
    assert ("item tag", "item.kind = tag.kind") in edges(block)


def test_quoted_names_keep_their_case():
    (block,) = parse_query('SELECT 1 FROM Foo "Foo", foo WHERE "Foo".X = foo."X"').blocks
    assert block.aliases == ("Foo", "foo")
    assert edges(block) == {("Foo foo", '"Foo".x = foo."X"')}


def test_an_alias_of_two_blocks_cannot_be_hinted():
    query = parse_query("SELECT 1 FROM a, b WHERE b.x IN (SELECT x FROM a)")
    assert [(relation.alias, relation.hintable) for relation in query.relations] == [
        ("a", False),
        ("b", True),
        ("a", False),
    ]


@pytest.mark.parametrize(
    ("sql", "message", "line", "column"),
    [
        ("", "empty", None, None),
        ("  -- nothing\n;", "empty", None, None),
        ("SELECT 1; SELECT 2", "2 statements", None, None),
        ("SELECT (1", "Expecting", 1, 9),
        ("SELECT 1\nFROM a WHERE x = 'abc", "never closed", 2, 18),
        ("SELECT 'it''s', \"a", "never closed", 1, 17),
        ("SELECT 1\nFROM\na b c", "Invalid expression", 3, 5),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "too deeply", None, None),
    ],
)
def test_what_is_no_query_is_refused_with_the_place(sql, message, line, column):
    with pytest.raises(QuerySyntaxError, match=message) as caught:
        parse_query(sql)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_commands_are_refused_without_a_warning_of_the_parsers(caplog):
    with pytest.raises(UnsafeQueryError):
        parse_safe("VACUUM orders")
    assert caplog.records == []
    logging.getLogger("sqlglot").warning("somebody else's")
    assert [record.message for record in caplog.records] == ["somebody else's"]


def test_the_same_text_comes_from_memory_until_the_schema_changes():
    sql = "SELECT 1 FROM a, b WHERE p = 1"
    old = Catalog({"a": Table("a", columns={"p": "int"})}, version="1")
    new = Catalog({"b": Table("b", columns={"p": "int"}), "a": Table("a", columns={"o": "int"})}, version="2")
    assert parse_query(sql, catalog=old) is parse_query(sql, catalog=old)
    assert parse_query(sql, catalog=old).blocks[0].filters == {"a": ("a.p = 1",)}
    assert parse_query(sql, catalog=new).blocks[0].filters == {"b": ("b.p = 1",)}
    other = Catalog({"b": Table("b", columns={"p": "int"})}, version="1")
    assert parse_query(sql, catalog=other).blocks[0].filters == {"b": ("b.p = 1",)}


def test_importing_the_package_leaves_the_parser_alone():
    code = "import sys, trellis, trellis.sql, trellis.sql.query, trellis.sql.orders; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
