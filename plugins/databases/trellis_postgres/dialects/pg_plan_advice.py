"""Hints as plan advice, PostgreSQL 19's own (contrib/pg_plan_advice in its source, README and grammar).

    Leading(((f d) (e g)))         JOIN_ORDER(f d (e g))           the outer input first, sublists for inner inputs that are joins
    HashJoin(f d) under it         HASH_JOIN(d)                    the method names the inner input, not the join
    NestLoop, MergeJoin            NESTED_LOOP_PLAIN, MERGE_JOIN_PLAIN
    SeqScan(f)                     SEQ_SCAN(f)
    IndexScan(f i)                 INDEX_SCAN(f i), INDEX_ONLY_SCAN(f i)
    BitmapScan(f)                  BITMAP_HEAP_SCAN(f)

Narrower than the hints: advice has no nested loop or merge join that leaves it open whether the inner input is kept, so the plain
ones are asked for; no bitmap scan that names its index; no index scan that names none; and a relation of a subquery must be named
with its subquery, by a name that only planning makes. What cannot be asked for is said in `untouched`.
"""

from __future__ import annotations

from trellis.contracts.database import HintedStatement
from trellis.sql.hints import (
    Join,
    JoinHint,
    JoinMethod,
    JoinTree,
    PlanHints,
    ScanHint,
    ScanMethod,
    quoted,
    tree_aliases,
    tree_joins,
)
from trellis.sql.query import Query
from trellis_postgres.dialects.base import HintDialect, free_search, switch_settings

_JOINS = {
    JoinMethod.NEST_LOOP: "NESTED_LOOP_PLAIN",
    JoinMethod.HASH: "HASH_JOIN",
    JoinMethod.MERGE: "MERGE_JOIN_PLAIN",
}
_SCANS = {
    ScanMethod.SEQ: "SEQ_SCAN",
    ScanMethod.INDEX: "INDEX_SCAN",
    ScanMethod.INDEX_ONLY: "INDEX_ONLY_SCAN",
    ScanMethod.BITMAP: "BITMAP_HEAP_SCAN",
}


class PgPlanAdvice(HintDialect):
    """Writes hints as the setting `pg_plan_advice.advice`."""

    name = "pg_plan_advice"
    capabilities = frozenset(
        {"join-order", "join-side", "join-method", "join-method-per-join", "scan-method", "buffers"}
    )
    library = "pg_plan_advice"

    def hinted(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Return the query's own text and the advice as a setting."""
        outermost = frozenset(query.blocks[0].aliases)
        untouched: dict[str, str] = {}
        advice: list[str] = []
        inner: dict[frozenset[str], JoinTree] = {}
        for leading in hints.leading:
            if outermost.issuperset(tree_aliases(leading.tree)):
                advice.append(f"JOIN_ORDER({' '.join(_order(leading.tree))})")
                inner |= {frozenset(tree_aliases(join)): join.right for join in tree_joins(leading.tree)}
            else:
                untouched[str(leading)] = _IN_SUBQUERY
        for hint in hints.joins:
            item = _join(hint, inner.get(hint.aliases), outermost, untouched)
            advice += [] if item is None else [item]
        for scan in hints.scans:
            item = _scan(scan, outermost, untouched)
            advice += [] if item is None else [item]
        settings = switch_settings(hints.switches)
        if advice:
            settings |= free_search(query) | {"pg_plan_advice.advice": " ".join(advice)}
        return HintedStatement(query.sql, settings, untouched)


_IN_SUBQUERY = "it names relations of a subquery, which plan advice calls by a name that only planning makes"


def _order(tree: Join) -> list[str]:
    """Return the items of JOIN_ORDER: the driving relation, then what is joined to it, one after the other."""
    first = [quoted(tree.left)] if isinstance(tree.left, str) else _order(tree.left)
    return [*first, quoted(tree.right) if isinstance(tree.right, str) else f"({' '.join(_order(tree.right))})"]


def _join(hint: JoinHint, inner: JoinTree | None, outermost: frozenset[str], untouched: dict[str, str]) -> str | None:
    if not outermost.issuperset(hint.aliases):
        untouched[str(hint)] = _IN_SUBQUERY
        return None
    if inner is None:
        untouched[str(hint)] = (
            "plan advice names a join by its inner input, which only a Leading with this join in it tells"
        )
        return None
    names = [quoted(alias) for alias in tree_aliases(inner)]
    target = names[0] if len(names) == 1 else f"({' '.join(names)})"
    return f"{_JOINS[hint.method]}({target})"


def _scan(hint: ScanHint, outermost: frozenset[str], untouched: dict[str, str]) -> str | None:
    if hint.alias not in outermost:
        untouched[str(hint)] = _IN_SUBQUERY
        return None
    word, alias = _SCANS[hint.method], quoted(hint.alias)
    if hint.method in (ScanMethod.INDEX, ScanMethod.INDEX_ONLY):
        if hint.index is None:
            untouched[str(hint)] = "plan advice asks for an index scan by an index's name; name one"
            return None
        return f"{word}({alias} {quoted(hint.index)})"
    if hint.index is not None:
        untouched[str(hint)] = (
            "plan advice cannot name a bitmap scan's index: a bitmap scan with any index is asked for"
        )
    return f"{word}({alias})"
