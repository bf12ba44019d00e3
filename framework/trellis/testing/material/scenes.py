"""Situations of a proposer without a database: three queries, their plans, and what was measured on them."""

from __future__ import annotations

from collections.abc import Sequence

from trellis.contracts.proposer import Neighbour, Situation, Tried
from trellis.sql.catalog import Catalog, Index, Table
from trellis.sql.hints import (
    Join,
    JoinMethod,
    JoinTree,
    Leading,
    PlanHints,
    ScanHint,
    ScanMethod,
    Switch,
    left_deep,
    tree_aliases,
)
from trellis.sql.plan import Plan
from trellis.sql.query import Query
from trellis.types import Problem

CHAIN = (
    "SELECT a.x, count(*) AS n FROM ta a, tb b, tc c, td d WHERE a.x = b.x AND b.y = c.y AND c.z = d.z AND a.y < {top} "
    "GROUP BY a.x"
)
OUTER = "SELECT a.x FROM ta a JOIN tc c ON a.x = c.x LEFT JOIN (tb b JOIN td d ON d.y = b.y) ON b.x = a.x WHERE c.z > 3"
FIXED = "SELECT a.x FROM ta a FULL JOIN tb b ON a.x = b.x"
ALONE = "SELECT a.x FROM ta a WHERE a.y = 1"
CATALOG = Catalog(
    {
        name: Table(name, columns={"x": "integer", "y": "integer", "z": "integer"}, indexes=indexes, rows=1000.0)
        for name, indexes in (
            ("ta", {"ta_x": Index("ta_x", ("x",))}),
            ("tb", {"tb_x": Index("tb_x", ("x",)), "tb_y": Index("tb_y", ("y",))}),
            ("tc", {}),
            ("td", {}),
        )
    }
)
ROWS = {"a": 900.0, "b": 400.0, "c": 60.0, "d": 10.0}
"""What a plan expects of each alias."""

ORDERS: dict[str, JoinTree] = {
    CHAIN: left_deep(("a", "b", "c", "d")),
    OUTER: Join(Join("a", "c"), Join("b", "d")),
    FIXED: Join("a", "b"),
    ALONE: "a",
}


def scenes() -> list[Situation]:
    """Return fresh situations: nothing known, much known, outer joins, an order that is fixed, and nothing to join."""
    tried = (
        Tried(PlanHints(switches=(Switch("enable_nestloop", on=False),)), 2.5, "faster", 4.0, "arms: no nestloop"),
        Tried(PlanHints(leading=(Leading(left_deep(("d", "c", "b", "a"))),)), 1.5, "faster", 6.0, "moves"),
        Tried(PlanHints(leading=(Leading(left_deep(("b", "c", "d", "a"))),)), 0.2, "slower", 50.0, "moves"),
    )
    best = PlanHints(
        scans=(ScanHint("b", ScanMethod.INDEX, "tb_x"),), leading=(Leading(left_deep(("b", "a", "c", "d"))),)
    )
    other = PlanHints(leading=(Leading(Join(Join("b", "d"), Join("a", "c"))),))
    near = (
        Neighbour(parsed(CHAIN.format(top=90)), 0.95, Tried(best, 3.0, "faster", 2.0), same_template=True),
        Neighbour(parsed(CHAIN.format(top=50)), 0.9, tried[0], same_template=True),
        Neighbour(parsed(OUTER), 0.4, Tried(other, 1.2, "faster", 2.0), same_template=False),
    )
    return [
        situation(CHAIN),
        situation(CHAIN, tried=tried, near=near),
        situation(OUTER, near=near[:1]),
        situation(FIXED),
        situation(ALONE),
    ]


def situation(sql: str, *, tried: Sequence[Tried] = (), near: Sequence[Neighbour] = ()) -> Situation:
    """Return a situation whose planner knows one method, and a cost that follows the order."""
    text = sql.format(top=20)
    return Situation(
        Problem(f"scene-{len(text)}", text),
        parsed(text),
        CATALOG,
        plan(ORDERS[sql]),
        tried=tried,
        neighbours=lambda k: near[:k],
        plan_of=lambda hints: plan(hints.leading[0].tree if hints.leading else ORDERS[sql]),
    )


def parsed(sql: str) -> Query:
    """Parse a query; imports sqlglot."""
    from trellis.sql.reader import parse_query

    return parse_query(sql, catalog=CATALOG)


def plan(tree: JoinTree) -> Plan:
    """Return a plan that joins as a tree says."""
    if isinstance(tree, str):
        return Plan(
            "Seq Scan", scan=ScanMethod.SEQ, alias=tree, relation=f"t{tree}", est_rows=ROWS[tree], cost=ROWS[tree]
        )
    outer, inner = plan(tree.left), plan(tree.right)
    rows = max(ROWS[alias] for alias in tree_aliases(tree)) * 1.5 ** len(tree_aliases(tree))
    cost = outer.cost + 2 * inner.cost + rows
    return Plan("Hash Join", JoinMethod.HASH, join_type="inner", est_rows=rows, cost=cost, children=(outer, inner))
