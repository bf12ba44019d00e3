"""What became of hints: each compared with the plan that the database shows for the hinted query.

Hints are requests, and databases say little about which they heard (pg_hint_plan calls an index that does not exist "used"), so
what counts is the plan. `Verdict.status` is "honoured" where the plan does what was asked, "partly" where it does some of it, and
"ignored" where it does not; the reason says what the plan does instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from trellis.sql.hints import (
    Hint,
    Join,
    JoinHint,
    JoinMethod,
    JoinTree,
    Leading,
    PlanHints,
    ScanHint,
    ScanMethod,
    Switch,
    quoted,
    tree_aliases,
    tree_joins,
)
from trellis.sql.join_trees import PlanReading

if TYPE_CHECKING:
    from trellis.sql.plan import Plan
    from trellis.sql.query import Query

Status: TypeAlias = Literal["honoured", "partly", "ignored"]

_JOIN_SWITCH = {
    "enable_nestloop": JoinMethod.NEST_LOOP,
    "enable_hashjoin": JoinMethod.HASH,
    "enable_mergejoin": JoinMethod.MERGE,
}
_SCAN_SWITCH = {
    "enable_seqscan": ScanMethod.SEQ,
    "enable_indexscan": ScanMethod.INDEX,
    "enable_indexonlyscan": ScanMethod.INDEX_ONLY,
    "enable_bitmapscan": ScanMethod.BITMAP,
}
_NODE_SWITCH = {
    "enable_sort": "Sort",
    "enable_hashagg": "HashAggregate",
    "enable_material": "Materialize",
    "enable_memoize": "Memoize",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one hint.

    Attributes:
        hint: The hint.
        status: "honoured", "partly" or "ignored".
        reason: What the plan does, for a person; never empty.
        same_tree: Of a Leading: whether the plan makes the joins asked for, whichever input is the outer one; what a
            dialect that cannot choose sides can promise.
    """

    hint: Hint
    status: Status
    reason: str
    same_tree: bool = False


def compare(hints: PlanHints, plan: Plan, query: Query | None = None) -> tuple[Verdict, ...]:
    """Compare hints with a plan.

    Args:
        hints: What was asked.
        plan: What the database plans for the hinted query.
        query: The query: without it, derived tables that the planner flattened are not recognised.

    Returns:
        One verdict per hint, in the order of `hints`.
    """
    reading = PlanReading(hints, plan, query)
    verdicts = []
    for hint in hints:
        match hint:
            case ScanHint():
                verdicts.append(_compare_scan(hint, reading))
            case JoinHint():
                verdicts.append(_compare_join(hint, reading))
            case Leading():
                verdicts.append(_compare_leading(hint, reading))
            case Switch():
                verdicts.append(_compare_switch(hint, plan))
    return tuple(verdicts)


def _compare_leading(hint: Leading, reading: PlanReading) -> Verdict:
    asked = frozenset(tree_aliases(hint.tree))
    try:
        found = reading.tree(asked)
    except ValueError as error:
        return Verdict(hint, "ignored", str(error))
    if found is None:
        return Verdict(hint, "ignored", "the plan reads none of these relations")
    left_out = asked - set(tree_aliases(found))
    tree: JoinTree | None = _without(hint.tree, left_out)
    beside = f", and does not read {_names(left_out)}" if left_out else ""
    if reading.lost(left_out):
        beside += f" by that name: {_names(frozenset(reading.view))} may be what it is made of"
    if found == tree:
        if left_out:
            return Verdict(hint, "partly", f"the plan joins {found}{beside}", same_tree=not reading.lost(left_out))
        return Verdict(hint, "honoured", f"the plan joins {found}", same_tree=True)
    assert tree is not None
    there = {frozenset(tree_aliases(join)): frozenset(tree_aliases(join.left)) for join in tree_joins(found)}
    wanted = {frozenset(tree_aliases(join)): frozenset(tree_aliases(join.left)) for join in tree_joins(tree)}
    if there.keys() == wanted.keys():
        swapped = sum(there[join] != wanted[join] for join in wanted)
        reason = f"the plan makes these joins, {swapped} of {len(wanted)} with outer and inner input swapped: {found}{beside}"
        return Verdict(hint, "partly", reason, same_tree=not reading.lost(left_out))
    # The last join holds everything in any order, so it is no sign of having been heard.
    kept = len(there.keys() & wanted.keys()) - 1
    reason = f"{kept} of {len(wanted) - 1} joins before the last are as asked; the plan joins {found}{beside}"
    return Verdict(hint, "partly" if kept > 0 else "ignored", reason)


def _compare_join(hint: JoinHint, reading: PlanReading) -> Verdict:
    block = reading.block_of(hint.aliases)
    if block is None:
        block = hint.aliases | set(reading.name.values())
    joins = reading.joins(block)
    these = [node for node, aliases in joins if aliases == hint.aliases]
    if not these:
        instead = sorted(
            {_names(aliases) for _, aliases in joins if aliases & hint.aliases}, key=lambda text: (len(text), text)
        )
        what = f"its joins are of {'; '.join(instead)}" if instead else "it joins none of them"
        return Verdict(hint, "ignored", f"the plan has no join of exactly {_names(hint.aliases)}: {what}")
    right = sum(node.join == hint.method for node in these)
    made = " and ".join(sorted({node.node for node in these}))
    status: Status = "honoured" if right == len(these) else "partly" if right else "ignored"
    return Verdict(hint, status, f"the plan makes this join by {made}")


def _compare_scan(hint: ScanHint, reading: PlanReading) -> Verdict:
    nodes = [node for node in reading.plan.walk() if reading.alias(node) == hint.alias]
    if not nodes:
        return Verdict(hint, "ignored", f"the plan does not read {quoted(hint.alias)}")
    scans = [node for node in nodes if node.scan is not None]
    if not scans:
        return Verdict(hint, "ignored", f"{quoted(hint.alias)} is read by {nodes[0].node}, which no hint can choose")
    verdicts = [_scan_status(hint, node, several=len(scans) > 1) for node in scans]
    statuses = {status for status, _ in verdicts}
    status: Status = statuses.pop() if len(statuses) == 1 else "partly"
    return Verdict(hint, status, "; ".join(dict.fromkeys(reason for _, reason in verdicts)))


def _scan_status(hint: ScanHint, node: Plan, *, several: bool) -> tuple[Status, str]:
    used = sorted(_indexes(node))
    does = f"{quoted(hint.alias)} is read by {node.node}" + (f" on {' and '.join(map(quoted, used))}" if used else "")
    index_kinds = {ScanMethod.INDEX, ScanMethod.INDEX_ONLY}
    if node.scan != hint.method:
        if {node.scan, hint.method} == index_kinds and hint.index in {None, *used}:
            why = "the index holds all columns" if node.scan == ScanMethod.INDEX_ONLY else "the table is needed too"
            return "partly", f"{does}: {why}"
        return "ignored", does
    if hint.index is None or used == [hint.index]:
        return "honoured", does
    if hint.index in used:
        return "partly", does
    if several:
        return "partly", f"{does}, an index of this partition"
    return "partly", f"{does}, another index than {quoted(hint.index)}"


def _compare_switch(hint: Switch, plan: Plan) -> Verdict:
    if hint.on:
        return Verdict(hint, "honoured", "the planner may use it")
    still = [node.node for node in plan.walk() if _switched(node, hint.name)]
    if not still:
        return Verdict(hint, "honoured", "the plan has no such node")
    nodes = ", ".join(f"{still.count(name)} {name}" for name in dict.fromkeys(still))
    return Verdict(
        hint, "partly", f"the plan still has {nodes}: the switch is a preference, and there was no other way"
    )


def _switched(node: Plan, switch: str) -> bool:
    if switch in _JOIN_SWITCH:
        return node.join == _JOIN_SWITCH[switch]
    if switch in _SCAN_SWITCH:
        return node.scan == _SCAN_SWITCH[switch]
    # "Incremental Sort" has a switch of its own.
    return node.node.endswith(_NODE_SWITCH[switch]) and node.node != "Incremental Sort"


def _indexes(node: Plan) -> set[str]:
    own = set() if node.index is None else {node.index}
    return own.union(*(_indexes(child) for child in node.children))


def _without(tree: JoinTree, left_out: frozenset[str]) -> JoinTree | None:
    if isinstance(tree, str):
        return None if tree in left_out else tree
    left, right = _without(tree.left, left_out), _without(tree.right, left_out)
    return Join(left, right) if left is not None and right is not None else left if right is None else right


def _names(aliases: frozenset[str]) -> str:
    return " ".join(quoted(alias) for alias in sorted(aliases))
