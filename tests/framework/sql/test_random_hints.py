from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.sql import (
    Catalog,
    Index,
    JoinMethod,
    ScanMethod,
    Table,
    check_hints,
    gbnf,
    parse_hints,
    random_hints,
)
from trellis.sql.hints import tree_joins
from trellis.sql.reader import parse_query

CYCLE = parse_query("SELECT 1 FROM a, b, c, d WHERE a.x = b.x AND b.y = c.y AND c.z = d.z AND d.w = a.w")
MIXED = parse_query(
    "WITH best AS (SELECT g.id FROM g JOIN h ON g.id = h.id) "
    "SELECT 1 FROM a LEFT JOIN (b JOIN c ON b.id = c.id) ON a.id = b.id JOIN best ON best.id = a.id, v "
    "WHERE v.id = a.id AND a.id IN (SELECT f.id FROM e FULL JOIN f ON e.id = f.id)"
)
CATALOG = Catalog(
    {
        "a": Table("a", indexes={"a_pkey": Index("a_pkey"), "a_x": Index("a_x")}),
        "b": Table("b"),
        "v": Table("v", kind="view"),
    }
)


@given(
    seed=st.integers(0, 2**32),
    query=st.sampled_from([CYCLE, MIXED]),
    catalog=st.sampled_from([None, CATALOG]),
    bushy=st.booleans(),
)
def test_random_hints_always_fit(seed, query, catalog, bushy):
    hints = random_hints(query, Random(seed), catalog=catalog, bushy=bushy)
    check_hints(hints, query, catalog)
    assert parse_hints(str(hints)) == hints
    blocks = [block for block in query.blocks if len(block.relations) > 1 and not block.fixed]
    assert len(hints.leading) == len(blocks) > 0
    assert len(hints.joins) == sum(len(block.relations) - 1 for block in blocks)


def test_equal_seeds_give_equal_hints_and_others_others():
    drawn = [str(random_hints(CYCLE, Random(seed))) for seed in range(20)]
    assert drawn == [str(random_hints(CYCLE, Random(seed))) for seed in range(20)]
    assert len(set(drawn)) > 15


def test_left_deep_trees_have_one_relation_on_the_right():
    for seed in range(50):
        (leading,) = random_hints(CYCLE, Random(seed), bushy=False).leading
        assert all(isinstance(join.right, str) for join in tree_joins(leading.tree))
    bushy = [random_hints(CYCLE, Random(seed)).leading[0].tree for seed in range(50)]
    assert any(not isinstance(join.right, str) for tree in bushy for join in tree_joins(tree))


def test_every_method_and_every_index_comes_up():
    drawn = [random_hints(CYCLE, Random(seed), catalog=CATALOG) for seed in range(200)]
    assert {hint.method for hints in drawn for hint in hints.joins} == set(JoinMethod)
    of_a = {(hint.method, hint.index) for hints in drawn for hint in hints.scans if hint.alias == "a"}
    assert {method for method, _ in of_a} == set(ScanMethod)
    assert {index for _, index in of_a} == {None, "a_pkey", "a_x"}
    assert {hint.method for hints in drawn for hint in hints.scans if hint.alias == "b"} == {ScanMethod.SEQ}
    assert all(
        hint.alias != "v" for seed in range(9) for hint in random_hints(MIXED, Random(seed), catalog=CATALOG).scans
    )


@pytest.mark.parametrize("query", [CYCLE, MIXED])
def test_parts_can_be_left_out(query):
    hints = random_hints(query, Random(1), methods=False, scans=False)
    assert hints.leading
    assert not hints.joins
    assert not hints.scans


def test_a_query_that_joins_nothing_has_scans_alone():
    hints = random_hints(parse_query("SELECT 1 FROM a WHERE x = 1"), Random(0))
    assert not hints.leading
    assert [hint.alias for hint in hints.scans] == ["a"]


def test_a_read_query_gives_a_grammar():
    text = gbnf(MIXED)
    assert '"g"' in text
    assert '"best"' in text
    assert text.count("Leading(") == 2
