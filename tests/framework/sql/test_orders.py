import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis.sql.hints import Join, tree_aliases, tree_joins
from trellis.sql.orders import illegal, random_tree
from trellis.sql.reader import parse_query


def block(sql):
    return parse_query(sql).blocks[0]


def all_trees(aliases):
    """Return every join tree over some aliases."""
    if len(aliases) == 1:
        return [aliases[0]]
    found = []
    for size in range(1, len(aliases)):
        for left in combinations(aliases, size):
            right = [alias for alias in aliases if alias not in left]
            found += [Join(a, b) for a in all_trees(list(left)) for b in all_trees(right)]
    return found


def legal(sql):
    found = block(sql)
    return {str(tree) for tree in all_trees(sorted(found.aliases)) if not illegal(found, tree)}


def test_inner_joins_may_be_made_in_any_order():
    assert len(legal("SELECT 1 FROM a JOIN b ON a.x = b.x, c")) == 12


@pytest.mark.parametrize(
    ("sql", "trees"),
    [
        ("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x", {"(a b)"}),
        ("SELECT 1 FROM a RIGHT JOIN b ON a.x = b.x", {"(b a)"}),
        ("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x LEFT JOIN c ON b.x = c.x", {"((a b) c)"}),
        ("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x LEFT JOIN c ON a.x = c.x", {"((a b) c)", "((a c) b)"}),
        ("SELECT 1 FROM a LEFT JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x", {"(a (b c))", "(a (c b))"}),
        ("SELECT 1 FROM a LEFT JOIN (b LEFT JOIN c ON b.x = c.x) ON a.x = b.x", {"(a (b c))"}),
        (
            "SELECT 1 FROM a LEFT JOIN b ON a.x = b.x JOIN c ON c.x = a.x",
            {"((a b) c)", "(c (a b))", "((a c) b)", "((c a) b)"},
        ),
        ("SELECT 1 FROM a FULL JOIN b ON a.x = b.x", set()),
    ],
)
def test_outer_joins_allow_exactly_these_orders(sql, trees):
    assert legal(sql) == trees


QUERIES = [
    "SELECT 1 FROM a, b, c, d, e WHERE a.x = b.x AND b.x = c.x AND c.x = d.x AND d.x = e.x",
    "SELECT 1 FROM a JOIN b ON a.x = b.x LEFT JOIN (c JOIN d ON c.x = d.x) ON c.y = b.y JOIN e ON e.x = a.x",
    "SELECT 1 FROM a RIGHT JOIN b ON a.x = b.x LEFT JOIN c ON c.x = a.x LEFT JOIN (d LEFT JOIN e ON d.x = e.x) ON e.y = b.y",
    "SELECT 1 FROM a, b, c, d WHERE a.x + b.x = c.x AND c.x = d.x",
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(QUERIES), st.integers(), st.booleans(), st.booleans())
def test_random_trees_are_legal(sql, seed, bushy, cross_products):
    found = block(sql)
    tree = random_tree(found, random.Random(seed), bushy=bushy, cross_products=cross_products)
    assert illegal(found, tree) == ""
    units = [outer.right for outer in found.outer_joins]
    if not bushy:
        rights = [frozenset(tree_aliases(join.right)) for join in tree_joins(tree)]
        assert all(len(right) == 1 or right in units for right in rights)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(QUERIES[:3]), st.integers(), st.booleans())
def test_random_trees_avoid_cross_products_where_the_graph_is_connected(sql, seed, bushy):
    found = block(sql)
    for join in tree_joins(random_tree(found, random.Random(seed), bushy=bushy)):
        left, right = set(tree_aliases(join.left)), set(tree_aliases(join.right))
        assert any(edge.aliases & left and edge.aliases & right for edge in found.edges)


def test_random_trees_reach_every_legal_order():
    sql = "SELECT 1 FROM a JOIN b ON a.x = b.x LEFT JOIN c ON c.x = a.x"
    rng = random.Random(1)
    assert {str(random_tree(block(sql), rng, cross_products=True)) for _ in range(300)} == legal(sql)


def test_one_relation_has_no_order():
    assert random_tree(block("SELECT 1 FROM a"), random.Random(1)) is None


def test_relations_without_predicates_are_joined_all_the_same():
    assert random_tree(block("SELECT 1 FROM a, b, c"), random.Random(1)) is not None
