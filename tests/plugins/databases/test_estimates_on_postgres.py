"""Estimates of a real planner: those of a relation's own conditions, not of one look-up by a nested loop."""

import pytest

from trellis.sql.estimates import ON_THEIR_OWN, estimates

SQL = (
    "SELECT count(*) FROM customer u, orders o, item i "
    "WHERE u.id = o.customer_id AND o.id = i.order_id AND u.id = 7 AND o.status = 'open'"
)


def test_relations_read_on_their_own_have_the_rows_of_their_conditions(postgres):
    query = postgres.parse(SQL)
    looked_up = estimates(postgres.explain(query), query, postgres.catalog())
    alone = estimates(postgres.explain(query, ON_THEIR_OWN), query, postgres.catalog())
    # Default: customer 7's orders by the index, and for each its two items.
    assert looked_up["i"].rows < 10
    assert alone["i"].rows == pytest.approx(10_000)
    assert alone["i"].selectivity == pytest.approx(1)
    assert (alone["u"].rows, alone["u"].table_rows) == (1, 1000)


def test_partitions_count_as_their_table(postgres):
    query = postgres.parse("SELECT count(*) FROM visit v WHERE customer_id >= 0")
    assert estimates(postgres.explain(query), query, postgres.catalog())["v"].rows == pytest.approx(2000, rel=0.01)
