"""Which join trees mean the same as a block's FROM clause, and random ones of them.

Inner joins may be made in any order. A left join's nullable side R is joined with itself first and then, as a whole, to
the right of anything that holds what its condition refers to:

    (X × Y) ⟕_{p(X,R)} R = (X ⟕_{p(X,R)} R) × Y

(Galindo-Legaria and Rosenthal 1997, "Outerjoin simplification and reordering for query optimization", identities 1 to 3).
Inner conditions stand above the joins, so that they need no rule of their own. Deliberately left out: joins across a
nullable side, A ⟕ (B ⟕ C) for (A ⟕ B) ⟕ C, which hold for strict conditions only.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from trellis.sql.hints import Join, JoinTree, quoted, tree_aliases, tree_joins
from trellis.sql.query import Block, OuterJoin


def illegal(block: Block, tree: Join) -> str:
    """Return why a tree is no join order of a block; empty if it is one.

    Args:
        block: The block.
        tree: All of the block's aliases, each once; a subquery or CTE in FROM is one of them.
    """
    if block.fixed:
        return f"the join order of {block.path} cannot be changed: {block.fixed}"
    given = tree_aliases(tree)
    twice = sorted({alias for alias in given if given.count(alias) > 1})
    if twice:
        return f"it names {_names(twice)} twice"
    if unknown := set(given) - set(block.aliases):
        return f"{block.path} has no {_names(unknown)}"
    if missing := set(block.aliases) - set(given):
        return f"it leaves out {_names(missing)} of {block.path}"
    lefts = {frozenset(tree_aliases(join.right)): frozenset(tree_aliases(join.left)) for join in tree_joins(tree)}
    for outer in block.outer_joins:
        left = lefts.get(outer.right)
        if left is None:
            return (
                f"{_names(outer.right)} must be the right input of one join, and nothing else with it: it is what a left join "
                "may leave empty"
            )
        if early := outer.requires - left:
            return f"{_names(outer.right)} is joined before {_names(early)}, which the condition of its left join refers to"
    return ""


def random_tree(block: Block, rng: Random, *, bushy: bool = True, cross_products: bool = False) -> Join | None:
    """Return a random legal join tree.

    Args:
        block: The block.
        rng: Where the choices come from.
        bushy: Whether both inputs of a join may be joins; if not, only a left join's nullable side may be one on the right.
        cross_products: Whether relations may be joined that no predicate connects. If not, they are only where there is no
            other way.

    Returns:
        The tree; None where the block's order cannot be changed or there is nothing to join.
    """
    if block.fixed or len(block.relations) < 2:
        return None
    tree = _grown(frozenset(block.aliases), block, rng, bushy=bushy, cross_products=cross_products)
    assert isinstance(tree, Join)
    return tree


def _grown(aliases: frozenset[str], block: Block, rng: Random, *, bushy: bool, cross_products: bool) -> JoinTree:
    """Join the relations of the query, or of one nullable side, until one tree is left."""
    inside = [outer for outer in block.outer_joins if outer.right < aliases]
    waiting = [outer for outer in inside if not any(outer.right < other.right for other in inside)]
    hanging = frozenset().union(*(outer.right for outer in waiting))
    parts: list[JoinTree] = [*sorted(aliases - hanging)]
    rng.shuffle(parts)
    sides = {
        outer.right: _grown(outer.right, block, rng, bushy=bushy, cross_products=cross_products) for outer in waiting
    }
    while len(parts) > 1 or waiting:
        # Left-deep, the first part is the one that grows.
        growing = parts if bushy else parts[:1]
        steps: list[tuple[JoinTree, JoinTree, OuterJoin | None]] = [
            (part, sides[outer.right], outer)
            for outer in waiting
            for part in growing
            if outer.requires <= frozenset(tree_aliases(part))
        ]
        pairs = [(left, right) for left in growing for right in parts if left is not right]
        connected = pairs if cross_products else [pair for pair in pairs if _connected(*pair, block)]
        steps += [(left, right, None) for left, right in connected or (() if steps else pairs)]
        left, right, joined = rng.choice(steps)
        if joined is not None:
            waiting.remove(joined)
        parts = [Join(left, right), *(part for part in parts if part is not left and part is not right)]
    return parts[0]


def _connected(left: JoinTree, right: JoinTree, block: Block) -> bool:
    ours, theirs = frozenset(tree_aliases(left)), frozenset(tree_aliases(right))
    return any(edge.aliases & ours and edge.aliases & theirs and edge.aliases <= ours | theirs for edge in block.edges)


def _names(aliases: Iterable[str]) -> str:
    return ", ".join(quoted(alias) for alias in sorted(aliases))
