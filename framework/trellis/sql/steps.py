"""Hints as a sequence of decisions: one line for each join, in an order in which they can be made, and the order they add up to.

    HashJoin(t1 t2)
    NestLoop(t3 t1 t2)
    Leading((t3 (t1 t2)))

A join's line names the outer input first and the inner after it, each as it was made, so that the lines before say which is
which: the second joins t3 with what the first made. `Leading` ends a block, and is the only line that can follow its last join; a
query with several blocks has one after the other. `Join(t1 t2)` leaves the method to the planner. Every line but that is a hint
as `trellis.sql.parse_hints` reads it.

Lines are in the aliases of the query they are asked of: for other names, ask of `Renaming.query(query)`. Scans, switches and
blocks whose order cannot be said are no part of this language.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from trellis.errors import HintError
from trellis.sql.fit import check_hints, orderable
from trellis.sql.hints import (
    Join,
    JoinHint,
    JoinMethod,
    JoinTree,
    Leading,
    PlanHints,
    quoted,
    tree_aliases,
    tree_joins,
)

if TYPE_CHECKING:
    from trellis.sql.query import Block, OuterJoin, Query

FREE = "Join"
"""The word of a join whose method is the planner's choice."""


def next_lines(
    query: Query,
    lines: Sequence[str] = (),
    *,
    free: bool = False,
    bushy: bool = True,
    cross_products: bool = False,
    sides: bool = True,
) -> list[str]:
    """Return every line that may follow; nothing where the hints are complete.

    However one goes on, there is always a legal end.

    Args:
        query: The query.
        lines: What was written so far.
        free: Whether a method may be left to the planner.
        bushy: Whether two results of joins may be joined; if not, only where a left join has one on the right.
        cross_products: Whether relations may be joined that no predicate connects, where there is another way.
        sides: Whether it is decided which input is the outer one; if not, lines are as `unsided` writes them.

    Raises:
        HintError: The lines so far cannot have been written so.
    """
    state = _read(query, lines)
    if not state.blocks:
        return []
    block, parts = state.blocks[0], state.parts
    if len(parts) == 1:
        return [str(Leading(_join(parts[0])))]
    pairs = [pair for pair in _pairs(parts) if _legal(*pair, block)]
    if not bushy:
        pairs = [pair for pair in pairs if _linear(*pair, parts, block)]
    if not cross_products:
        pairs = [pair for pair in pairs if _meant(*pair, block)] or pairs
    if not sides:
        pairs = list(dict.fromkeys(_unsided(*pair, block) for pair in pairs))
    words = [*JoinMethod, *([FREE] if free else [])]
    return [_line(word, left, right) for left, right in pairs for word in words]


def lines_of(hints: PlanHints, query: Query) -> list[str]:
    """Return hints as lines.

    Raises:
        HintError: They do not fit the query, or say what lines cannot: a scan, a switch, or a join of a block without an order;
            or they lack the order of a block.
    """
    check_hints(hints, query)
    for hint in (*hints.scans, *hints.switches):
        raise HintError(str(hint), reason="lines of join decisions say neither scans nor switches; leave it out")
    methods = {hint.aliases: hint.method for hint in hints.joins}
    written: list[str] = []
    for block in query.blocks:
        if not orderable(block):
            continue
        trees = [each.tree for each in hints.leading if tree_aliases(each.tree)[0] in block.aliases]
        if not trees:
            raise HintError(str(hints), reason=f"it has no order of {block.path}; complete it with `plan_hints`")
        for join in tree_joins(trees[0]):
            written.append(_line(methods.pop(frozenset(tree_aliases(join)), FREE), join.left, join.right))
        written.append(str(Leading(trees[0])))
    for aliases, method in methods.items():
        raise HintError(str(JoinHint(aliases, method)), reason="no order of its block says where this join stands")
    return written


def unsided(hints: PlanHints, query: Query) -> PlanHints:
    """Return hints in which each join has its inputs by name, the smaller first, unless a left join forbids it.

    For databases that choose the sides themselves: there, one plan has as many orders as there are ways to swap inputs, and a
    model would have to learn that they are one.
    """

    def told(tree: JoinTree, block: Block) -> JoinTree:
        return (
            Join(*_unsided(told(tree.left, block), told(tree.right, block), block)) if isinstance(tree, Join) else tree
        )

    leading = []
    for each in hints.leading:
        block = next(block for block in query.blocks if tree_aliases(each.tree)[0] in block.aliases)
        leading.append(Leading(_join(told(each.tree, block))))
    return replace(hints, leading=tuple(leading))


def hints_of(query: Query, lines: Sequence[str]) -> PlanHints:
    """Return the hints that complete lines add up to.

    Raises:
        HintError: The lines are not complete, or cannot have been written so.
    """
    state = _read(query, lines)
    if state.blocks:
        raise HintError("\n".join(lines), reason=f"the order of {state.blocks[0].path} is not complete")
    return PlanHints(joins=tuple(state.joins), leading=tuple(state.leading))


@dataclass(slots=True)
class _State:
    """Where some lines lead: the blocks still to be ordered, the parts of the first of them, and what was said."""

    blocks: list[Block]
    parts: list[JoinTree]
    joins: list[JoinHint]
    leading: list[Leading]


def _read(query: Query, lines: Sequence[str]) -> _State:
    blocks = [block for block in query.blocks if orderable(block)]
    state = _State(blocks, list(blocks[0].aliases) if blocks else [], [], [])
    for line in lines:
        _take(line, state)
    return state


def _take(line: str, state: _State) -> None:
    if not state.blocks:
        raise HintError(line, reason="the order of every block is complete, nothing may follow")
    block, parts = state.blocks[0], state.parts
    if len(parts) == 1:
        whole = Leading(_join(parts[0]))
        if line != str(whole):
            raise HintError(
                line, reason=f"the joins so far make {whole}, and nothing else may follow", choices=[str(whole)]
            )
        state.leading.append(whole)
        del state.blocks[0]
        state.parts = list(state.blocks[0].aliases) if state.blocks else []
        return
    word, bracket, rest = line.partition("(")
    found = [pair for pair in _pairs(parts) if bracket + rest == _line("", *pair)]
    if not found or word not in {*JoinMethod, FREE}:
        have = "; ".join(" ".join(map(quoted, tree_aliases(part))) for part in parts)
        raise HintError(line, reason=f"it is no join of two of these, the outer one first: {have}")
    left, right = found[0]
    if not _legal(left, right, block):
        raise HintError(line, reason=f"a left join of {block.path} does not allow this join now")
    joined = Join(left, right)
    if word != FREE:
        state.joins.append(JoinHint(frozenset(tree_aliases(joined)), JoinMethod(word)))
    state.parts = [joined if part is left else part for part in parts if part is not right]


def _line(word: str, left: JoinTree, right: JoinTree) -> str:
    return f"{word}({_names(left)} {_names(right)})"


@lru_cache(maxsize=10_000)
def _names(tree: JoinTree) -> str:
    return " ".join(quoted(alias) for alias in tree_aliases(tree))


def _join(tree: JoinTree) -> Join:
    assert isinstance(tree, Join)
    return tree


def _pairs(parts: Sequence[JoinTree]) -> Iterator[tuple[JoinTree, JoinTree]]:
    yield from ((left, right) for left in parts for right in parts if left is not right)


def _legal(left: JoinTree, right: JoinTree, block: Block) -> bool:
    """Whether a join keeps to every left join: the nullable side first, then as a whole on the right of what it refers to."""
    ours, theirs = frozenset(tree_aliases(left)), frozenset(tree_aliases(right))
    return all(_allowed(outer, ours, theirs) for outer in block.outer_joins)


def _allowed(outer: OuterJoin, left: frozenset[str], right: frozenset[str]) -> bool:
    side = outer.right
    if not side & (left | right) or left | right <= side:
        return True
    if right == side:
        return outer.requires <= left
    return side < left or side < right


def _unsided(left: JoinTree, right: JoinTree, block: Block) -> tuple[JoinTree, JoinTree]:
    """Return two inputs in the order of their names, where a left join does not say otherwise."""

    def first(tree: JoinTree) -> tuple[int, str]:
        return min((len(alias), alias) for alias in tree_aliases(tree))

    return (right, left) if first(right) < first(left) and _legal(right, left, block) else (left, right)


def _meant(left: JoinTree, right: JoinTree, block: Block) -> bool:
    """Whether a left join's condition or a predicate joins the two."""
    ours, theirs = frozenset(tree_aliases(left)), frozenset(tree_aliases(right))
    return any(outer.right == theirs for outer in block.outer_joins) or any(
        edge.aliases & ours and edge.aliases & theirs and edge.aliases <= ours | theirs for edge in block.edges
    )


def _linear(left: JoinTree, right: JoinTree, parts: Sequence[JoinTree], block: Block) -> bool:
    """Whether one part grows at a time: within each nullable side, and among all that is in none."""
    sides = {outer.right for outer in block.outer_joins}
    if isinstance(right, Join) and frozenset(tree_aliases(right)) not in sides:
        return False
    level = _side(left, block)
    # A nullable side that is whole waits to be joined, it does not grow.
    growing = [part for part in parts if isinstance(part, Join) and frozenset(tree_aliases(part)) not in sides]
    return isinstance(left, Join) or not any(_side(part, block) == level for part in growing)


def _side(part: JoinTree, block: Block) -> frozenset[str]:
    """Return the smallest nullable side that a part is in and does not fill; empty where it is in none."""
    aliases = frozenset(tree_aliases(part))
    return min((o.right for o in block.outer_joins if aliases < o.right), key=len, default=frozenset())
