"""Local moves: small changes of the best hints so far.

Orders are changed as simulated annealing changes them (Ioannidis and Kang 1990, "Randomized algorithms for optimizing large join
queries": commutativity, associativity, exchange), and by taking one relation out and joining it elsewhere. Whatever a move makes
illegal is left out, methods of joins that are gone go with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, zip_longest
from random import Random

from trellis import Proposal, Proposer, Situation
from trellis.sql.fit import orderable
from trellis.sql.from_plan import plan_hints
from trellis.sql.hints import (
    Join,
    JoinHint,
    JoinMethod,
    JoinTree,
    Leading,
    PlanHints,
    ScanHint,
    ScanMethod,
    Switch,
    tree_aliases,
    tree_joins,
)
from trellis.sql.orders import illegal
from trellis_proposers.config import MovesConfig
from trellis_proposers.picking import picked, reached
from trellis_proposers.trees import num_cross_products, order_of

SWITCHED = ("nestloop", "hashjoin", "mergejoin", "seqscan", "indexscan", "indexonlyscan", "bitmapscan")


class Moves(Proposer):
    """Changes of the fastest measured hints, kinds of change in turn, each kind shuffled."""

    Config = MovesConfig

    def __init__(self, config: MovesConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n changed hints."""
        rng = Random(seed)
        around = [self._around(base, name, situation, rng) for base, name in self._bases(situation)]
        return picked((one for row in zip_longest(*around) for one in row if one is not None), situation, n)

    def _bases(self, situation: Situation) -> list[tuple[PlanHints, str]]:
        faster = sorted((t for t in situation.tried if reached(t) > 1 and t.hints), key=lambda tried: -tried.speedup)
        if not faster:
            # Every method of it as a hint would leave the planner nothing to mend after a change of order.
            return [(plan_hints(situation.plan, situation.query, methods=False, scans=False), "the default plan")]
        return [(tried.hints, f"what was {tried.speedup:.2g}x") for tried in faster[: self.config.bases]]

    def _around(self, base: PlanHints, name: str, situation: Situation, rng: Random) -> Iterator[Proposal]:
        kinds = {
            "another order": list(orders(base, situation, cross_products=self.config.cross_products)),
            "another method": list(_methods(base, situation)) if self.config.methods else [],
            "another scan": list(_scans(base, situation)) if self.config.scans else [],
            "a switch": list(_switches(base)) if self.config.switches else [],
        }
        for changed in kinds.values():
            rng.shuffle(changed)
        rows = ([(kind, hints) for hints in changed] for kind, changed in kinds.items())
        for kind, hints in (pair for row in zip_longest(*rows) for pair in row if pair is not None):
            yield Proposal(hints, f"moves: {kind} in {name}")


def orders(base: PlanHints, situation: Situation, *, cross_products: bool) -> Iterator[PlanHints]:
    """Yield hints with one block's order changed by one move; where they have no order, the default plan's is changed."""
    own = plan_hints(situation.plan, situation.query, methods=False, scans=False)
    for block in situation.query.blocks:
        tree = order_of(base, block) or order_of(own, block)
        if tree is None or not orderable(block):
            continue
        allowed = num_cross_products(tree, block)
        others = [leading for leading in base.leading if tree_aliases(leading.tree)[0] not in block.aliases]
        for changed in dict.fromkeys(neighbouring(tree)):
            if illegal(block, changed) or (not cross_products and num_cross_products(changed, block) > allowed):
                continue
            made = {frozenset(tree_aliases(join)) for join in tree_joins(changed)}
            kept = tuple(hint for hint in base.joins if hint.aliases in made or not hint.aliases <= set(block.aliases))
            yield replace(base, leading=(*others, Leading(changed)), joins=kept)


def neighbouring(tree: Join) -> Iterator[Join]:
    """Yield the trees one move away: inputs swapped, joins rotated, two leaves exchanged, one leaf moved; legal or not."""
    for changed in chain(_rebuilt(tree), _exchanged(tree), _moved(tree)):
        if isinstance(changed, Join) and changed != tree:
            yield changed


def _rebuilt(tree: JoinTree) -> Iterator[JoinTree]:
    """Swap and rotate at one join, wherever it stands."""
    if isinstance(tree, str):
        return
    left, right = tree.left, tree.right
    yield Join(right, left)
    if isinstance(left, Join):
        yield Join(left.left, Join(left.right, right))
        yield Join(Join(left.left, right), left.right)
    if isinstance(right, Join):
        yield Join(Join(left, right.left), right.right)
        yield Join(right.left, Join(left, right.right))
    for changed in _rebuilt(left):
        yield Join(changed, right)
    for changed in _rebuilt(right):
        yield Join(left, changed)


def _exchanged(tree: Join) -> Iterator[JoinTree]:
    leaves = tree_aliases(tree)
    for index, one in enumerate(leaves):
        for other in leaves[index + 1 :]:
            yield _renamed(tree, {one: other, other: one})


def _renamed(tree: JoinTree, names: dict[str, str]) -> JoinTree:
    if isinstance(tree, str):
        return names.get(tree, tree)
    return Join(_renamed(tree.left, names), _renamed(tree.right, names))


def _moved(tree: Join) -> Iterator[JoinTree]:
    for leaf in tree_aliases(tree):
        rest = _less(tree, leaf)
        if rest is not None:
            yield from _inserted(rest, leaf)


def _less(tree: JoinTree, leaf: str) -> JoinTree | None:
    if isinstance(tree, str):
        return None if tree == leaf else tree
    left, right = _less(tree.left, leaf), _less(tree.right, leaf)
    if left is None or right is None:
        return right if left is None else left
    return Join(left, right)


def _inserted(tree: JoinTree, leaf: str) -> Iterator[JoinTree]:
    yield Join(tree, leaf)
    if isinstance(tree, Join):
        for changed in _inserted(tree.left, leaf):
            yield Join(changed, tree.right)
        for changed in _inserted(tree.right, leaf):
            yield Join(tree.left, changed)


def _methods(base: PlanHints, situation: Situation) -> Iterator[PlanHints]:
    for hint in base.joins:
        yield replace(base, joins=tuple(other for other in base.joins if other != hint))
    asked = {hint.aliases: hint.method for hint in base.joins}
    used = {hint.aliases: hint.method for hint in plan_hints(situation.plan, situation.query).joins}
    for leading in base.leading:
        for join in tree_joins(leading.tree):
            aliases = frozenset(tree_aliases(join))
            others = tuple(hint for hint in base.joins if hint.aliases != aliases)
            for method in JoinMethod:
                if method is not asked.get(aliases, used.get(aliases)):
                    yield replace(base, joins=(*others, JoinHint(aliases, method)))


def _scans(base: PlanHints, situation: Situation) -> Iterator[PlanHints]:
    for hint in base.scans:
        yield replace(base, scans=tuple(other for other in base.scans if other != hint))
    asked = {hint.alias: hint.method for hint in base.scans}
    used = {hint.alias: hint.method for hint in plan_hints(situation.plan, situation.query).scans}
    for relation in situation.query.relations:
        table = situation.catalog.table(relation.name) if relation.kind == "table" and relation.name else None
        if table is None or table.kind == "view" or not relation.hintable:
            continue
        others = tuple(hint for hint in base.scans if hint.alias != relation.alias)
        for method in ScanMethod if table.indexes else (ScanMethod.SEQ,):
            if method is not asked.get(relation.alias, used.get(relation.alias)):
                yield replace(base, scans=(*others, ScanHint(relation.alias, method)))


def _switches(base: PlanHints) -> Iterator[PlanHints]:
    for name in (f"enable_{name}" for name in SWITCHED):
        others = tuple(switch for switch in base.switches if switch.name != name)
        yield replace(base, switches=others if len(others) < len(base.switches) else (*others, Switch(name, on=False)))
