"""Plans here have the shapes that PostgreSQL 18 gives, written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.sql import (
    Block,
    Join,
    JoinMethod,
    Leading,
    Plan,
    PlanHints,
    Query,
    Relation,
    ScanMethod,
    compare,
    join_tree,
    parse_hints,
)
from trellis.sql.hints import tree_aliases

JOINS = {"Nested Loop": JoinMethod.NEST_LOOP, "Hash Join": JoinMethod.HASH, "Merge Join": JoinMethod.MERGE}


def seq(alias):
    return Plan("Seq Scan", scan=ScanMethod.SEQ, alias=alias, relation=f"public.{alias}")


def index(alias, name, *, only=False):
    node, method = ("Index Only Scan", ScanMethod.INDEX_ONLY) if only else ("Index Scan", ScanMethod.INDEX)
    return Plan(node, scan=method, alias=alias, index=name)


def bitmap(alias, *names):
    below = tuple(Plan("Bitmap Index Scan", index=name) for name in names)
    below = below if len(names) == 1 else (Plan("BitmapAnd", children=below),)
    only = names[0] if len(names) == 1 else None
    return Plan("Bitmap Heap Scan", scan=ScanMethod.BITMAP, alias=alias, index=only, children=below)


def over(node, *children, alias=None, subplans=()):
    return Plan(node, alias=alias, children=children, subplans=subplans)


def join(node, outer, inner):
    inner = over("Hash", inner) if node == "Hash Join" else inner
    return Plan(node, join=JOINS[node], join_type="inner", children=(outer, inner))


def query_of(*blocks):
    return Query(sql="", dialect="postgres", blocks=blocks, fingerprint="", literals=(), tree=None, reading=None)


def tables(*aliases):
    return tuple(Relation(alias, alias, "table") for alias in aliases)


def verdict(text, plan, query=None):
    (only,) = compare(parse_hints(text), plan, query)
    return only


CHAIN = join("Hash Join", join("Nested Loop", seq("a"), index("b", "b_pkey")), seq("c"))


def test_a_leading_that_the_plan_follows_is_honoured():
    found = verdict("Leading(((a b) c))", CHAIN)
    assert (found.status, found.same_tree) == ("honoured", True)
    assert found.reason == "the plan joins ((a b) c)"


def test_the_same_joins_with_other_sides_are_half_of_it():
    found = verdict("Leading((c (b a)))", CHAIN)
    assert (found.status, found.same_tree) == ("partly", True)
    assert "2 of 2 with outer and inner input swapped: ((a b) c)" in found.reason


def test_some_of_the_joins_are_part_of_it():
    plan = join("Hash Join", CHAIN, seq("d"))
    found = verdict("Leading((((a b) d) c))", plan)
    assert (found.status, found.same_tree) == ("partly", False)
    assert found.reason == "1 of 2 joins before the last are as asked; the plan joins (((a b) c) d)"


def test_another_order_is_ignored():
    found = verdict("Leading(((a c) b))", CHAIN)
    assert (found.status, found.same_tree) == ("ignored", False)
    assert found.reason == "0 of 1 joins before the last are as asked; the plan joins ((a b) c)"


def test_a_left_deep_tree_is_not_a_bushy_one():
    bushy = join("Hash Join", join("Hash Join", seq("a"), seq("b")), join("Hash Join", seq("c"), seq("d")))
    assert verdict("Leading(((a b) (c d)))", bushy).status == "honoured"
    assert verdict("Leading((((a b) c) d))", bushy).status == "partly"


def test_nodes_with_one_input_are_looked_through():
    inner = join("Merge Join", over("Sort", seq("a")), over("Materialize", over("Sort", seq("b"))))
    plan = over("Limit", over("Gather Merge", over("Sort", join("Nested Loop", inner, over("Memoize", seq("c"))))))
    assert verdict("Leading(((a b) c))", plan).status == "honoured"


def test_partitions_are_their_table():
    parts = over("Append", seq("p_1"), seq("p_2"))
    assert verdict("Leading((p a))", join("Hash Join", parts, seq("a"))).status == "honoured"
    both = over("Append", *(join("Hash Join", seq(f"x_{n}"), seq(f"y_{n}")) for n in (1, 2)))
    assert verdict("Leading((x y))", both).status == "honoured"
    assert verdict("HashJoin(x y)", both, query_of(Block(0, "the query", None, tables("x", "y")))).status == "honoured"


def test_partitions_of_two_aliases_of_one_table_are_told_apart():
    plan = join("Hash Join", over("Append", seq("p_1_1"), seq("p_1_2")), over("Append", seq("p_2"), seq("p_3")))
    query = query_of(Block(0, "the query", None, tables("p_1", "p")))
    assert join_tree(plan, ["p", "p_1"], query) == Join("p_1", "p")


def test_a_name_that_looks_like_a_partition_is_none_where_its_table_is_read_too():
    plan = join("Hash Join", seq("p"), seq("p_1"))
    assert join_tree(plan, ["p"]) == "p"


def test_partitions_joined_in_different_orders_are_no_tree():
    one, two = join("Hash Join", seq("x_1"), seq("y_1")), join("Hash Join", seq("y_2"), seq("x_2"))
    found = verdict("Leading((x y))", over("Append", one, two))
    assert (found.status, found.reason) == ("ignored", "Append reads inputs that are joined in different orders")


DERIVED = query_of(
    Block(0, "the query", None, (*tables("a", "e"), Relation("d", None, "subquery", block=1))),
    Block(1, "the subquery d", 0, tables("b", "c")),
)


def test_a_subquery_scan_is_a_leaf_and_its_inside_a_tree_of_its_own():
    inside = over("HashAggregate", join("Hash Join", seq("c"), seq("b")))
    plan = join("Nested Loop", join("Hash Join", seq("a"), over("Subquery Scan", inside, alias="d")), seq("e"))
    found = compare(parse_hints("HashJoin(b c) HashJoin(a d) Leading(((a d) e)) Leading((c b))"), plan, DERIVED)
    assert [each.status for each in found] == ["honoured"] * 4


def test_a_derived_table_without_a_node_of_its_own_is_its_relations():
    inside = over("HashAggregate", join("Hash Join", seq("c"), seq("b")))
    plan = join("Nested Loop", join("Hash Join", seq("a"), inside), seq("e"))
    found = compare(parse_hints("HashJoin(b c) HashJoin(a d) Leading(((a d) e)) Leading((c b))"), plan, DERIVED)
    assert [each.status for each in found] == ["honoured"] * 4
    assert verdict("Leading(((a d) e))", plan).status == "partly"


def test_a_flattened_derived_table_joined_apart_is_no_input():
    plan = join("Hash Join", join("Hash Join", join("Hash Join", seq("b"), seq("a")), seq("c")), seq("e"))
    found = verdict("Leading(((d a) e))", plan, DERIVED)
    assert found.status == "ignored"
    assert found.reason == "d is no one input of the plan: its relations are joined apart"


def test_a_cte_is_a_leaf_outside_and_a_tree_inside():
    query = query_of(
        Block(0, "the query", None, (*tables("a"), Relation("best", "best", "cte", block=1))),
        Block(1, "the CTE best", 0, tables("b", "c")),
    )
    scan = Plan("CTE Scan", alias="best")
    plan = Plan(
        "Hash Join",
        join=JoinMethod.HASH,
        children=(scan, over("Hash", seq("a"))),
        subplans=(join("Merge Join", seq("b"), seq("c")),),
    )
    found = compare(parse_hints("MergeJoin(b c) Leading((best a)) Leading((c b))"), plan, query)
    assert [each.status for each in found] == ["honoured", "honoured", "partly"]
    scan_hint = verdict("SeqScan(best)", plan, query)
    assert (scan_hint.status, scan_hint.reason) == ("ignored", "best is read by CTE Scan, which no hint can choose")


def test_relations_pulled_up_from_an_exists_are_looked_through():
    query = query_of(Block(0, "the query", None, tables("a", "b")), Block(1, "a subquery in WHERE", 0, tables("x")))
    semi = Plan("Hash Join", join=JoinMethod.HASH, join_type="semi", children=(seq("a"), over("Hash", seq("x"))))
    plan = join("Nested Loop", semi, seq("b"))
    assert verdict("Leading((a b))", plan, query).status == "honoured"
    assert verdict("NestLoop(a b)", plan, query).status == "honoured"


def test_a_relation_that_the_planner_removed_is_named():
    found = verdict("Leading(((a b) z))", join("Hash Join", seq("a"), seq("b")))
    assert (found.status, found.same_tree) == ("partly", True)
    assert found.reason == "the plan joins (a b), and does not read z"


def test_the_relations_of_a_view_stand_for_it():
    query = query_of(Block(0, "the query", None, tables("a", "v", "e")))
    plan = join("Nested Loop", join("Hash Join", seq("a"), join("Hash Join", seq("x"), seq("y"))), seq("e"))
    found = compare(parse_hints("HashJoin(a v) Leading(((a v) e))"), plan, query)
    assert [each.status for each in found] == ["honoured", "honoured"]


def test_a_values_list_is_known_by_the_name_that_postgresql_gives_it():
    query = query_of(Block(0, "the query", None, (*tables("a", "b"), Relation("g", None, "values"))))
    plan = join("Hash Join", join("Hash Join", seq("a"), Plan("Values Scan", alias="*VALUES*")), seq("b"))
    assert verdict("Leading(((a g) b))", plan, query).status == "honoured"


def test_the_relations_of_two_views_cannot_be_told_apart():
    query = query_of(Block(0, "the query", None, tables("a", "b", "v", "w")))
    plan = join("Hash Join", join("Hash Join", seq("a"), seq("x")), join("Hash Join", seq("b"), seq("y")))
    found = verdict("Leading(((a v) (b w)))", plan, query)
    assert (found.status, found.same_tree) == ("partly", False)
    assert found.reason == "the plan joins (a b), and does not read v w by that name: x y may be what it is made of"


def test_a_plan_that_reads_nothing_ignores_every_tree():
    found = verdict("Leading((a b))", over("Result"))
    assert (found.status, found.reason) == ("ignored", "the plan reads none of these relations")


def test_a_join_method_is_that_of_the_join_with_exactly_these_aliases():
    assert verdict("NestLoop(a b)", CHAIN).status == "honoured"
    other = verdict("MergeJoin(a b c)", CHAIN)
    assert (other.status, other.reason) == ("ignored", "the plan makes this join by Hash Join")
    none = verdict("HashJoin(b c)", CHAIN)
    assert none.reason == "the plan has no join of exactly b c: its joins are of a b; a b c"


@pytest.mark.parametrize(
    ("text", "node", "status", "reason"),
    [
        ("SeqScan(a)", seq("a"), "honoured", "a is read by Seq Scan"),
        ("IndexScan(a)", seq("a"), "ignored", "a is read by Seq Scan"),
        ("IndexScan(a)", index("a", "i"), "honoured", "a is read by Index Scan on i"),
        ("IndexScan(a i)", index("a", "i"), "honoured", "a is read by Index Scan on i"),
        ("IndexScan(a i)", index("a", "j"), "partly", "a is read by Index Scan on j, another index than i"),
        ("IndexScan(a i)", index("a", "i", only=True), "partly", "Index Only Scan on i: the index holds all columns"),
        ("IndexScan(a i)", index("a", "j", only=True), "ignored", "a is read by Index Only Scan on j"),
        ("IndexOnlyScan(a i)", index("a", "i"), "partly", "Index Scan on i: the table is needed too"),
        ("BitmapScan(a i)", bitmap("a", "i"), "honoured", "a is read by Bitmap Heap Scan on i"),
        ("BitmapScan(a i)", bitmap("a", "i", "j"), "partly", "a is read by Bitmap Heap Scan on i and j"),
        ("BitmapScan(a)", bitmap("a", "i", "j"), "honoured", "a is read by Bitmap Heap Scan on i and j"),
        ("SeqScan(a)", seq("b"), "ignored", "the plan does not read a"),
        ("SeqScan(a)", over("Append", seq("a_1"), seq("a_2")), "honoured", "a is read by Seq Scan"),
        (
            "SeqScan(a)",
            over("Append", seq("a_1"), index("a_2", "i")),
            "partly",
            "by Seq Scan; a is read by Index Scan on i",
        ),
        (
            "IndexScan(a i)",
            over("Append", index("a_1", "i_1"), index("a_2", "i_2")),
            "partly",
            "an index of this partition",
        ),
    ],
)
def test_a_scan_hint_is_compared_by_method_and_index(text, node, status, reason):
    found = verdict(text, over("Limit", node))
    assert found.status == status
    assert reason in found.reason


def test_an_index_in_a_filters_subplan_is_no_index_of_the_scan():
    plan = Plan("Seq Scan", scan=ScanMethod.SEQ, alias="a", subplans=(index("b", "i"),))
    assert verdict("SeqScan(a)", plan).reason == "a is read by Seq Scan"


@pytest.mark.parametrize(
    ("switch", "node"),
    [
        ("enable_hashjoin", "Hash Join"),
        ("enable_nestloop", "Nested Loop"),
        ("enable_mergejoin", "Merge Join"),
    ],
)
def test_a_switch_is_honoured_where_no_such_join_is_left(switch, node):
    for used in JOINS:
        found = verdict(f"Set({switch} off)", join(used, seq("a"), seq("b")))
        assert found.status == ("partly" if used == node else "honoured")
        assert (f"still has 1 {node}" in found.reason) == (used == node)
    assert verdict(f"Set({switch} on)", seq("a")).status == "honoured"


@pytest.mark.parametrize(
    ("switch", "plan", "status"),
    [
        ("enable_seqscan", seq("a"), "partly"),
        ("enable_seqscan", index("a", "i"), "honoured"),
        ("enable_indexscan", index("a", "i"), "partly"),
        ("enable_indexscan", index("a", "i", only=True), "honoured"),
        ("enable_indexonlyscan", index("a", "i", only=True), "partly"),
        ("enable_bitmapscan", bitmap("a", "i"), "partly"),
        ("enable_sort", over("Sort", seq("a")), "partly"),
        ("enable_sort", over("Incremental Sort", seq("a")), "honoured"),
        ("enable_hashagg", over("Finalize HashAggregate", seq("a")), "partly"),
        ("enable_hashagg", over("GroupAggregate", seq("a")), "honoured"),
        ("enable_material", over("Materialize", seq("a")), "partly"),
        ("enable_memoize", over("Memoize", seq("a")), "partly"),
    ],
)
def test_every_switch_knows_its_nodes(switch, plan, status):
    assert verdict(f"Set({switch} off)", over("Limit", plan)).status == status


@st.composite
def trees(draw, aliases):
    if len(aliases) == 1:
        return aliases[0]
    cut = draw(st.integers(1, len(aliases) - 1))
    return Join(draw(trees(aliases[:cut])), draw(trees(aliases[cut:])))


def planned(tree):
    return seq(tree) if isinstance(tree, str) else join("Hash Join", planned(tree.left), planned(tree.right))


def mirrored(tree):
    return tree if isinstance(tree, str) else Join(mirrored(tree.right), mirrored(tree.left))


@given(data=st.data())
def test_a_plan_of_a_tree_honours_it_and_its_mirror_image_is_the_same_tree(data):
    aliases = data.draw(st.permutations("abcdefg"))[: data.draw(st.integers(2, 7))]
    tree = data.draw(trees(aliases))
    hints = PlanHints(leading=(Leading(tree),))
    (straight,), (mirror,) = compare(hints, planned(tree)), compare(hints, planned(mirrored(tree)))
    assert (straight.status, straight.same_tree) == ("honoured", True)
    assert (mirror.status, mirror.same_tree) == ("partly", True)
    assert join_tree(planned(tree), aliases) == tree


@given(data=st.data())
def test_same_tree_says_whether_the_sets_that_are_joined_are_the_same(data):
    one, two = (data.draw(trees(data.draw(st.permutations("abcd")))) for _ in range(2))
    (found,) = compare(PlanHints(leading=(Leading(one),)), planned(two))
    assert found.same_tree == (sets(one) == sets(two))
    assert (found.status == "honoured") == (one == two)


def sets(tree):
    if isinstance(tree, str):
        return set()
    return {frozenset(tree_aliases(tree))} | sets(tree.left) | sets(tree.right)
