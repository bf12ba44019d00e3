"""A query plan in one form for every database: the tree that EXPLAIN shows, with estimated and measured rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from trellis.sql.hints import JoinMethod, ScanMethod


@dataclass(frozen=True, slots=True)
class Plan:
    """One node of a plan and all below it.

    Attributes:
        node: The database's own name for the node, e.g. "Hash Join".
        join: The method, of a node that joins its first two children (outer, inner); None for every other node.
        scan: The method, of a node that reads a relation by one that a hint can name; None for every other node.
        join_type: "inner", "left", "right", "full", "semi" or "anti", of a join.
        alias: The name by which the query calls what the node reads; None where it reads nothing with a name.
        relation: The table read, with its schema where the database tells it.
        index: The index used. A bitmap scan's is that of the only index below it, None where there are several.
        est_rows: Rows that the planner expects the node to return, per loop.
        rows: Rows that it did return, mean per loop; None where the plan was not executed.
        loops: How often it was executed; None where the plan was not, 0 where the node was never reached.
        cost: The planner's total cost, in its own unit.
        time_ms: Mean measured time per loop up to its last row, children included; None where not measured.
        blocks: Blocks of tables and indexes that it and its children looked at, in the cache or not; None where not counted.
        children: Inputs, in order.
        subplans: Plans that the node's expressions use (subqueries in WHERE or SELECT, CTEs), no inputs of it.
    """

    node: str
    join: JoinMethod | None = None
    scan: ScanMethod | None = None
    join_type: str | None = None
    alias: str | None = None
    relation: str | None = None
    index: str | None = None
    est_rows: float = 0.0
    rows: float | None = None
    loops: float | None = None
    cost: float = 0.0
    time_ms: float | None = None
    blocks: float | None = None
    children: tuple[Plan, ...] = ()
    subplans: tuple[Plan, ...] = ()

    def walk(self) -> Iterator[Plan]:
        """Yield this node and every node below it, subplans included, each before its children."""
        yield self
        for child in (*self.children, *self.subplans):
            yield from child.walk()

    def aliases(self) -> frozenset[str]:
        """Return the aliases read in this node and its inputs, those of its subplans not counted."""
        own = frozenset() if self.alias is None else frozenset((self.alias,))
        return own.union(*(child.aliases() for child in self.children))

    def shape(self) -> Shape:
        """Return what makes it this plan and no other: nodes, methods, relations and indexes, without any number."""
        below = tuple(child.shape() for child in (*self.children, *self.subplans))
        return Shape(self.node, self.join_type, self.alias, self.index, below)


class Shape(NamedTuple):
    """A plan without its numbers: two plans of one query with equal shapes do the same."""

    node: str
    join_type: str | None
    alias: str | None
    index_name: str | None
    below: tuple[Shape, ...]
