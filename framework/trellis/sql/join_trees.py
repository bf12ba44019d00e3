"""How a plan joins the relations of a query: the join trees of its blocks, read from what EXPLAIN shows.

A plan is read as the query sees it: nodes with one input (Hash, Sort, Gather, …) are looked
through, a node with an alias of the block is a leaf whatever is below it, partitions of a table (p_1, p_2, …) are their table,
and the relations of a derived table or CTE whose own node the planner left out stand for its alias, as long as nothing else is
joined between them. The relations of a view, and "*VALUES*", stand for the alias that is missing. Relations of other blocks
that were pulled up into this one (an EXISTS) are looked through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trellis.sql.hints import Hint, Join, JoinHint, JoinTree, Leading, PlanHints, ScanHint, quoted, tree_aliases

if TYPE_CHECKING:
    from trellis.sql.plan import Plan
    from trellis.sql.query import Query

_PARTITION = re.compile(r"(.+)_\d+\Z")


def join_tree(plan: Plan, aliases: Sequence[str], query: Query | None = None) -> JoinTree | None:
    """Return the tree in which a plan joins these aliases of one block; None where it reads none of them.

    Raises:
        ValueError: They are in no one tree: one is read in several places, or partitions are joined in different orders.
    """
    return PlanReading(PlanHints(), plan, query, known=aliases).tree(frozenset(aliases))


class PlanReading:
    """A plan, read with the names of its query."""

    def __init__(self, hints: PlanHints, plan: Plan, query: Query | None, *, known: Sequence[str] = ()) -> None:
        self.plan = plan
        self.query = query
        names = {*known, *(alias for hint in hints for alias in _hint_aliases(hint))}
        if query is not None:
            names |= {relation.alias for relation in query.relations}
        shown = {node.alias for node in plan.walk() if node.alias is not None}
        self.name = {alias: _table_alias(alias, names, shown) for alias in shown}
        self.view = self._views(names)
        self.leading = [frozenset(tree_aliases(hint.tree)) for hint in hints.leading]

    def _views(self, names: set[str]) -> dict[str, str]:
        """For names of the plan that the query does not know, the alias that is missing for them: of a view, or of VALUES."""
        if self.query is None:
            return {}
        read = set(self.name.values())
        found: dict[str, str] = {}
        for kind, strange in (
            ("table", {alias for alias in read if alias not in names and not alias.startswith("*")}),
            ("values", {alias for alias in read if alias.startswith("*VALUES*")}),
        ):
            missing = [each.alias for each in self.query.relations if each.kind == kind and each.alias not in read]
            # With several missing nobody can say which of them a relation belongs to.
            found |= dict.fromkeys(sorted(strange), missing[0] if len(missing) == 1 else "")
        return found

    def alias(self, node: Plan) -> str | None:
        """The query's own name for what a node reads."""
        return None if node.alias is None else self.name[node.alias]

    def lost(self, left_out: frozenset[str]) -> bool:
        """Whether relations that the plan does not read may be there all the same, as those of a view."""
        return bool(left_out) and bool(self.view) and "" in self.view.values()

    def block_of(self, aliases: frozenset[str]) -> frozenset[str] | None:
        """All aliases of the block that holds these; None where nobody says."""
        if self.query is not None:
            for block in self.query.blocks:
                if aliases <= set(block.aliases):
                    return frozenset(block.aliases)
        return next((tree for tree in self.leading if aliases <= tree), None)

    def stands_for(self, aliases: frozenset[str]) -> dict[str, str]:
        """For each relation inside a derived table or CTE of a block, at any depth, that one's alias in the block."""
        inside = {strange: view for strange, view in self.view.items() if view in aliases}
        if self.query is not None:
            blocks = {block.id: block for block in self.query.blocks}
            for relation in self.query.relations:
                if relation.alias in aliases:
                    open_blocks = [] if relation.block is None else [relation.block]
                    while open_blocks:
                        for inner in blocks[open_blocks.pop()].relations:
                            if inner.alias not in aliases:
                                inside[inner.alias] = relation.alias
                            if inner.block is not None:
                                open_blocks.append(inner.block)
        return inside

    def tree(self, aliases: frozenset[str]) -> JoinTree | None:
        """The tree over a block's aliases: that of the part of the plan that reads most of them."""
        inside = self.stands_for(aliases)
        best: JoinTree | None = None
        for root in (self.plan, *(subplan for node in self.plan.walk() for subplan in node.subplans)):
            found = self._tree(root, aliases, inside)
            if found is not None and (best is None or len(tree_aliases(found)) > len(tree_aliases(best))):
                best = found
        if best is not None:
            read = tree_aliases(best)
            for alias in read:
                if read.count(alias) > 1:
                    raise ValueError(f"{quoted(alias)} is no one input of the plan: its relations are joined apart")
        return best

    def joins(self, aliases: frozenset[str]) -> list[tuple[Plan, frozenset[str]]]:
        """Every join of the plan that joins relations of a block, with the block's aliases that it holds."""
        inside = self.stands_for(aliases)
        found = []
        for node in self.plan.walk():
            if node.join is not None:
                try:
                    left, right = (self._tree(child, aliases, inside) for child in node.children[:2])
                except ValueError:
                    continue
                if left is not None and right is not None and not (left == right and isinstance(left, str)):
                    found.append((node, frozenset(tree_aliases(left) + tree_aliases(right))))
        return found

    def _tree(self, node: Plan, aliases: frozenset[str], inside: dict[str, str]) -> JoinTree | None:
        alias = self.alias(node)
        if alias is not None:
            alias = inside.get(alias, alias)
            if alias in aliases:
                return alias
        trees = [tree for child in node.children if (tree := self._tree(child, aliases, inside)) is not None]
        distinct = list(dict.fromkeys(trees))
        if len(distinct) <= 1:
            return distinct[0] if distinct else None
        if node.join is None:
            raise ValueError(f"{node.node} reads inputs that are joined in different orders")
        return Join(trees[0], trees[1])


def _table_alias(alias: str, names: set[str], shown: set[str]) -> str:
    """The alias of a partitioned table for that of its partition: "p" for "p_1", where the query has the one alone."""
    match = _PARTITION.match(alias)
    if alias not in names and match and match.group(1) in names and match.group(1) not in shown:
        return match.group(1)
    return alias


def _hint_aliases(hint: Hint) -> Iterator[str]:
    match hint:
        case ScanHint():
            yield hint.alias
        case JoinHint():
            yield from hint.aliases
        case Leading():
            yield from tree_aliases(hint.tree)
