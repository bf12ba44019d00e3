"""Plans written as hints, on a real server: the hints of the default plan ask for the default plan."""

from pathlib import Path

import pytest

from trellis.sql import check_hints, compare, join_tree, parse_hints, plan_hints

QUERIES = [
    text.strip() for text in (Path(__file__).parent / "data" / "plans.sql").read_text().split(";\n") if text.strip()
]


def tree(node):
    """What joins what and how, without nodes of one input."""
    if node.join is not None:
        return (node.join, *(tree(child) for child in node.children[:2]))
    if node.scan is not None:
        return (node.scan, node.alias, node.index)
    return tree(node.children[0]) if node.children else node.node


@pytest.mark.parametrize("sql", QUERIES)
def test_the_default_plan_asked_for_by_hints_is_the_default_plan(postgres, sql):
    query = postgres.parse(sql)
    plan = postgres.explain(query)
    hints = plan_hints(plan, query)
    check_hints(hints, query, postgres.catalog())
    assert parse_hints(str(hints)) == hints
    assert hints.leading
    again = postgres.explain(query, hints)
    assert tree(again) == tree(plan), str(hints)
    for block in query.blocks:
        assert join_tree(again, block.aliases, query) == join_tree(plan, block.aliases, query)
    assert {verdict.status for verdict in compare(hints, plan, query)} <= {"honoured", "partly"}


def test_the_plan_of_a_shuffled_order_is_written_as_that_order(postgres):
    query = postgres.parse(QUERIES[0])
    asked = parse_hints("Leading(((i o) (c u)))")
    plan = postgres.explain(query, asked)
    written = plan_hints(plan, query, methods=False, scans=False)
    (verdict,) = compare(asked, plan, query)
    assert verdict.same_tree
    assert postgres.explain(query, written).shape() == plan.shape()
