"""FROM clauses as trees: the joins as they are written, and what a planner may do with them.

sqlglot keeps a FROM clause as a flat list in which a comma and a JOIN look alike, although JOIN binds tighter. `written`
gives it its structure back; `region` forgets what has no meaning: the order of inner joins, where an inner join's
condition stands, and on which side of RIGHT or LEFT the preserved input was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sqlglot import exp

RelationKind: TypeAlias = Literal["table", "cte", "subquery", "function", "values"]
JoinKind: TypeAlias = Literal["comma", "inner", "cross", "left", "right", "full"]


@dataclass(slots=True, eq=False)
class Item:
    """One relation of a FROM clause while it is read.

    Attributes:
        alias: Folded as the database folds it.
        name: The table or CTE; None of everything else.
        kind: A `RelationKind`.
        node: Its syntax.
        columns: Its columns' names in order; None where they are not known.
        types: Their types, where known.
        named_at: A position in the text inside this item and in no item nested in it; None where sqlglot keeps none.
        block: The block that makes it.
        scope: Identity of the block it stands in.
        vertex: Its number over the whole query.
    """

    alias: str
    name: str | None
    kind: RelationKind
    node: exp.Expr
    columns: tuple[str, ...] | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    named_at: int | None = None
    block: int | None = None
    scope: int = 0
    vertex: int = 0


@dataclass(slots=True, eq=False)
class Written:
    """A join as it is written.

    Attributes:
        kind: How.
        left: Its left input.
        right: Its right input.
        on: Its ON condition.
        using: Its USING columns, folded; None where it has none.
        natural: Whether it is NATURAL.
        pairs: What USING or NATURAL equates: column, left item, right item; None where a catalog is missing.
        columns: What `SELECT *` over it gives, in order; None where not known.
    """

    kind: JoinKind
    left: WrittenTree
    right: WrittenTree
    on: exp.Expr | None = None
    using: tuple[str, ...] | None = None
    natural: bool = False
    pairs: list[Equated] | None = None
    columns: list[tuple[str, Item]] | None = None


WrittenTree: TypeAlias = "Item | Written"

Equated: TypeAlias = "tuple[str, Item, Item]"
"""A column that USING or NATURAL equates, and the relations it is taken from."""

Condition: TypeAlias = "exp.Expr | Equated"


@dataclass(slots=True, eq=False)
class Region:
    """Relations that may be joined in any order, and what hangs on them.

    Attributes:
        items: The relations.
        conditions: The conjuncts of the inner joins' conditions. An outer join's region hands them to `Outer.conditions`:
            L ⟕_q σ_p(R) = L ⟕_{q ∧ p} R.
        outers: The outer joins whose preserved side is in this region.
    """

    items: list[Item]
    conditions: list[Condition] = field(default_factory=list)
    outers: list[Outer] = field(default_factory=list)

    def all_items(self) -> Iterator[Item]:
        """Yield every relation, those of the outer joins' nullable sides included."""
        yield from self.items
        for outer in self.outers:
            yield from outer.right.all_items()
            if outer.left is not None:
                yield from outer.left.all_items()


@dataclass(slots=True, eq=False)
class Outer:
    """A left join onto a region or, with `left`, a full join.

    Attributes:
        right: The nullable side.
        conditions: The conjuncts of ON; of a left join also those of the inner joins in `right`.
        left: The other side of a full join; None of a left join. A full join's sides keep their own conditions.
    """

    right: Region
    conditions: list[Condition]
    left: Region | None = None


def conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """Split a condition at its ANDs, in order."""
    found: list[exp.Expr] = []
    waiting = [] if condition is None else [condition]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.Paren):
            waiting.append(node.this)
        elif isinstance(node, exp.And):
            waiting += [node.args["expression"], node.this]
        else:
            found.append(node)
    return found


def leaves(tree: WrittenTree) -> Iterator[Item]:
    """Yield the relations of a written tree from left to right."""
    if isinstance(tree, Item):
        yield tree
    else:
        yield from leaves(tree.left)
        yield from leaves(tree.right)


def joins(tree: WrittenTree) -> Iterator[Written]:
    """Yield the joins of a written tree, inputs first."""
    if isinstance(tree, Written):
        yield from joins(tree.left)
        yield from joins(tree.right)
        yield tree


def region(tree: WrittenTree) -> Region:
    """Return what a tree of joins means, its order forgotten."""
    if isinstance(tree, Item):
        return Region([tree])
    left, right = region(tree.left), region(tree.right)
    conditions: list[Condition] = [*conjuncts(tree.on), *(tree.pairs or ())]
    if tree.kind == "full":
        return Region([], [], [Outer(right, conditions, left)])
    if tree.kind == "right":
        left, right = right, left
    if tree.kind in ("left", "right"):
        left.outers.append(Outer(right, [*conditions, *right.conditions]))
        right.conditions = []
        return left
    return Region(left.items + right.items, left.conditions + right.conditions + conditions, left.outers + right.outers)
