"""Join trees cut and completed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trellis import Situation
from trellis.sql.fit import orderable
from trellis.sql.from_plan import plan_hints
from trellis.sql.hints import Join, JoinTree, PlanHints, tree_aliases, tree_joins
from trellis.sql.orders import illegal
from trellis.sql.query import Block


def order_of(hints: PlanHints, block: Block) -> Join | None:
    """Return the join tree that hints have for a block."""
    aliases = set(block.aliases)
    trees = [leading.tree for leading in hints.leading if set(tree_aliases(leading.tree)) <= aliases]
    return trees[0] if trees else None


def own_order(situation: Situation, block: Block) -> Join | None:
    """Return the default plan's join tree of a block; None where hints cannot say it."""
    return order_of(plan_hints(situation.plan, situation.query, methods=False, scans=False), block)


def restricted(tree: JoinTree, names: Mapping[str, str]) -> JoinTree | None:
    """Return what is left of a tree when only these aliases stay, under their new names."""
    if isinstance(tree, str):
        return names.get(tree)
    left, right = restricted(tree.left, names), restricted(tree.right, names)
    if left is None or right is None:
        return right if left is None else left
    return Join(left, right)


def completed(tree: JoinTree, block: Block, own: Join) -> Join | None:
    """Join what a tree lacks of a block: first what is connected, nullable sides as wholes, as the own order has them.

    Args:
        tree: Some aliases of the block.
        block: The block.
        own: A legal order of the whole block.

    Returns:
        A legal order of the whole block that holds the tree; None where it cannot be completed so.
    """
    missing = [alias for alias in tree_aliases(own) if alias not in set(tree_aliases(tree))]
    while missing:
        have = frozenset(tree_aliases(tree))
        units = [unit for alias in missing if (unit := _unit(alias, block)) <= frozenset(missing)]
        ready = [unit for unit in units if _required(unit, block) <= have]
        near = [unit for unit in ready if connected(have, unit, block)] or ready
        if not near:
            return None
        unit = near[0]
        added = restricted(own, {alias: alias for alias in unit})
        assert added is not None
        tree = Join(tree, added)
        missing = [alias for alias in missing if alias not in unit]
    return tree if isinstance(tree, Join) and orderable(block) and not illegal(block, tree) else None


def _unit(alias: str, block: Block) -> frozenset[str]:
    """What is joined as a whole when this alias is: the largest nullable side that it is in."""
    sides = [outer.right for outer in block.outer_joins if alias in outer.right]
    return max(sides, key=len, default=frozenset((alias,)))


def _required(unit: frozenset[str], block: Block) -> frozenset[str]:
    return frozenset().union(*(outer.requires for outer in block.outer_joins if outer.right == unit))


def connected(one: Iterable[str], other: Iterable[str], block: Block) -> bool:
    """Whether a predicate joins two disjoint sets of aliases, and needs no others."""
    ours, theirs = frozenset(one), frozenset(other)
    return any(edge.aliases & ours and edge.aliases & theirs and edge.aliases <= ours | theirs for edge in block.edges)


def num_cross_products(tree: Join, block: Block) -> int:
    """Return how many joins of a tree no predicate connects."""
    pairs: Sequence[Join] = tree_joins(tree)
    return sum(not connected(tree_aliases(join.left), tree_aliases(join.right), block) for join in pairs)
