"""Plans written as hints: what is said, and what cannot be."""

import pytest

from trellis.sql import JoinMethod, Plan, ScanMethod, check_hints, compare, plan_hints
from trellis.sql.reader import parse_query


def scan(alias, method=ScanMethod.SEQ, index=None, relation=None):
    return Plan(f"{method}", scan=method, alias=alias, relation=relation or alias, index=index, est_rows=1)


def join(method, outer, inner, join_type="inner"):
    return Plan(f"{method}", join=method, join_type=join_type, children=(outer, inner))


def hashed(plan):
    return Plan("Hash", children=(plan,))


NEST, HASH, MERGE = JoinMethod.NEST_LOOP, JoinMethod.HASH, JoinMethod.MERGE
CHAIN = parse_query("SELECT count(*) FROM a, b, c WHERE a.x = b.x AND b.y = c.y")
PLAN = Plan(
    "Aggregate",
    children=(
        join(NEST, join(HASH, scan("b"), hashed(scan("a"))), scan("c", ScanMethod.INDEX, "c_y")),
    ),
)  # fmt: skip


def test_order_sides_methods_and_scans_are_those_of_the_plan():
    assert (
        str(plan_hints(PLAN, CHAIN)) == "SeqScan(a) SeqScan(b) IndexScan(c c_y) HashJoin(a b) NestLoop(a b c) "
        "Leading(((b a) c))"
    )
    assert str(plan_hints(PLAN, CHAIN, methods=False, scans=False)) == "Leading(((b a) c))"


def test_the_hints_of_a_plan_are_honoured_by_that_plan():
    assert {verdict.status for verdict in compare(plan_hints(PLAN, CHAIN), PLAN, CHAIN)} == {"honoured"}


def test_a_relation_that_the_planner_removed_stands_last():
    query = parse_query("SELECT a.x FROM a LEFT JOIN c ON a.y = c.y, b WHERE a.x = b.x")
    assert str(plan_hints(join(HASH, scan("a"), hashed(scan("b"))), query)) == (
        "SeqScan(a) SeqScan(b) HashJoin(a b) Leading(((a b) c))"
    )


def test_what_a_left_join_may_leave_empty_stands_on_the_right():
    query = parse_query("SELECT a.x FROM a LEFT JOIN (c JOIN d ON c.y = d.y) ON a.y = c.y, b WHERE a.x = b.x")
    plan = join(HASH, join(MERGE, scan("c"), scan("d")), hashed(join(NEST, scan("b"), scan("a"))), join_type="right")
    hints = plan_hints(plan, query)
    assert str(hints.leading[0]) == "Leading(((b a) (c d)))"
    check_hints(hints, query)


def test_an_order_without_which_a_left_join_is_illegal_is_left_out():
    query = parse_query("SELECT a.x FROM a LEFT JOIN (c JOIN d ON c.y = d.y) ON a.y = c.y, b WHERE a.x = b.x")
    hints = plan_hints(join(HASH, scan("a"), hashed(scan("b"))), query)
    assert (hints.leading, hints.joins) == ((), ())
    assert len(hints.scans) == 2
    check_hints(hints, query)


def test_a_block_with_a_fixed_order_has_methods_and_no_order():
    query = parse_query("SELECT 1 FROM a FULL JOIN b ON a.x = b.x")
    hints = plan_hints(join(MERGE, scan("a"), scan("b"), "full"), query)
    assert str(hints) == "SeqScan(a) SeqScan(b) MergeJoin(a b)"
    check_hints(hints, query)


def test_every_block_has_an_order_of_its_own():
    query = parse_query(
        "WITH best AS MATERIALIZED (SELECT c.x FROM c, d WHERE c.y = d.y) SELECT 1 FROM a, best WHERE a.x = best.x"
    )
    cte = join(MERGE, scan("c"), scan("d"))
    plan = Plan(
        "Hash Join",
        join=HASH,
        join_type="inner",
        children=(scan("a"), hashed(Plan("CTE Scan", alias="best"))),
        subplans=(cte,),
    )
    hints = plan_hints(plan, query)
    assert [str(leading) for leading in hints.leading] == ["Leading((a best))", "Leading((c d))"]
    assert [str(each) for each in hints.joins] == ["HashJoin(a best)", "MergeJoin(c d)"]
    assert [each.alias for each in hints.scans] == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (scan("a", relation="a_1"), scan("a", relation="a_2"), "SeqScan(a)"),
        (scan("a", ScanMethod.INDEX, "a_1_x", "a_1"), scan("a", ScanMethod.INDEX, "a_2_x", "a_2"), "IndexScan(a)"),
        (scan("a", ScanMethod.INDEX, "a_1_x", "a_1"), scan("a", relation="a_2"), ""),
    ],
)
def test_partitions_read_alike_are_their_table_read_so(first, second, expected):
    query = parse_query("SELECT 1 FROM a")
    assert str(plan_hints(Plan("Append", children=(first, second)), query)) == expected


def test_the_index_of_a_partition_that_alone_is_read_is_not_named():
    query = parse_query("SELECT 1 FROM a")
    assert str(plan_hints(scan("a", ScanMethod.INDEX, "a_1_x", "a_1"), query)) == "IndexScan(a)"


def test_a_plan_without_the_relations_gives_no_hints():
    assert not plan_hints(Plan("Result"), CHAIN)
