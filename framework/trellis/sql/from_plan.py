"""A plan written as the hints that ask for it: what a proposer changes, and what a prompt shows of the planner's own choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trellis.sql.fit import orderable
from trellis.sql.hints import (
    Join,
    JoinHint,
    JoinMethod,
    JoinTree,
    Leading,
    PlanHints,
    ScanHint,
    tree_aliases,
    tree_joins,
)
from trellis.sql.join_trees import PlanReading
from trellis.sql.orders import illegal

if TYPE_CHECKING:
    from trellis.sql.plan import Plan
    from trellis.sql.query import Block, Query, Relation


def plan_hints(plan: Plan, query: Query, *, methods: bool = True, scans: bool = True) -> PlanHints:
    """Write a plan as hints.

    They fit the query (`trellis.sql.check_hints`). What hints cannot say is left out: the order of a block that is fixed or
    that the plan joins in pieces, scans and joins that partitions do in different ways, joins of relations with a name that
    is not theirs alone, an index of a partition, sorts and other nodes. Relations that the planner found it can do without
    (a left join that changes nothing) stand last in their block's order, where the planner leaves them out again. What a
    left join may leave empty stands on the right of its join, as hints demand, even where the plan reads it first.

    Args:
        plan: A plan of the query.
        query: The query.
        methods: Whether to write how each join is made.
        scans: Whether to write how each table is read.

    Returns:
        The hints: a `Leading` for each block, with the plan's outer inputs on the left where that is legal.

    Example:
        >>> print(plan_hints(plan, query))  # doctest: +SKIP
        SeqScan(u) IndexScan(o orders_customer) NestLoop(o u) Leading((u o))
    """
    reading = PlanReading(PlanHints(), plan, query)
    leading: list[Leading] = []
    joins: list[JoinHint] = []
    for block in query.blocks:
        found = _tree(block, reading)
        if found is None:
            continue
        if orderable(block):
            whole = _completed(found, block)
            if whole is None:
                continue
            leading.append(Leading(whole))
        if methods:
            joins += _join_hints(found, block, reading)
    scan_hints = [hint for relation in query.relations if (hint := _scan_hint(relation, reading))] if scans else []
    return PlanHints(scans=tuple(scan_hints), joins=tuple(joins), leading=tuple(leading))


def _tree(block: Block, reading: PlanReading) -> Join | None:
    try:
        found = reading.tree(frozenset(block.aliases))
    except ValueError:
        return None
    return found if isinstance(found, Join) else None


def _completed(tree: Join, block: Block) -> Join | None:
    """Return the tree with the relations that it lacks joined last; None where that is no legal order."""
    read = set(tree_aliases(tree))
    whole = _nullable_right(tree, {outer.right for outer in block.outer_joins})
    for alias in block.aliases:
        if alias not in read:
            whole = Join(whole, alias)
    assert isinstance(whole, Join)
    return None if illegal(block, whole) else whole


def _nullable_right(tree: JoinTree, nullable: set[frozenset[str]]) -> JoinTree:
    if isinstance(tree, str):
        return tree
    left, right = _nullable_right(tree.left, nullable), _nullable_right(tree.right, nullable)
    return Join(right, left) if frozenset(tree_aliases(left)) in nullable else Join(left, right)


def _join_hints(tree: Join, block: Block, reading: PlanReading) -> list[JoinHint]:
    hintable = {relation.alias for relation in block.relations if relation.hintable}
    made: dict[frozenset[str], set[JoinMethod]] = {}
    for node, aliases in reading.joins(frozenset(block.aliases)):
        assert node.join is not None
        made.setdefault(aliases, set()).add(node.join)
    of_tree = [frozenset(tree_aliases(join)) for join in tree_joins(tree)]
    return [
        JoinHint(aliases, method)
        for aliases in of_tree
        if aliases <= hintable and len(made.get(aliases, ())) == 1
        for method in made[aliases]
    ]


def _scan_hint(relation: Relation, reading: PlanReading) -> ScanHint | None:
    if relation.kind != "table" or relation.name is None or not relation.hintable:
        return None
    nodes = [node for node in reading.plan.walk() if node.scan is not None and reading.alias(node) == relation.alias]
    found = {node.scan for node in nodes}
    if len(found) != 1:
        return None
    (method,) = found
    assert method is not None
    table = relation.name.rpartition(".")[2]
    whole = all((node.relation or table).rpartition(".")[2] == table for node in nodes)
    indexes = {node.index for node in nodes}
    index = indexes.pop() if whole and len(indexes) == 1 and method.takes_index else None
    return ScanHint(relation.alias, method, index)
