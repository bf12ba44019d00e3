"""EXPLAIN (FORMAT JSON), read into a `Plan`.

DuckDB's plans name tables, not aliases. A node gets the alias that is certain, and no other:

- Of a table, function or CTE that stands once in the query, and in no view that the query reads, the alias is known.
- Under a `Leading` hint the join tree is known, and its leaves are met in the plan in order: so the aliases of a table that is
  joined with itself are known too, and those of views and VALUES.
- Without a hint the aliases of a table that is joined with itself are not known: None.

Deviations from what EXPLAIN shows: what EXPLAIN ANALYZE calls TABLE_SCAN has the name that EXPLAIN gives it; a CTE's definition
is a subplan, and its own numbers are those of what it goes on with; times, which DuckDB measures per node, are sums with those
of the inputs; MARK and SINGLE joins, which keep every row of their left input, are "left". DuckDB shows no cost, and no
estimates where its join optimizer is off: they are 0 under a `Leading` hint.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trellis.sql.hints import Join, JoinMethod, JoinTree, Leading, ScanMethod
from trellis.sql.plan import Plan
from trellis.sql.query import Query, Relation
from trellis_duckdb.catalog import Schema

_JOINS = {
    "HASH_JOIN": JoinMethod.HASH,
    "NESTED_LOOP_JOIN": JoinMethod.NEST_LOOP,
    "BLOCKWISE_NL_JOIN": JoinMethod.NEST_LOOP,
    "CROSS_PRODUCT": JoinMethod.NEST_LOOP,
    "PIECEWISE_MERGE_JOIN": JoinMethod.MERGE,
    "IE_JOIN": JoinMethod.MERGE,
    "ASOF_JOIN": JoinMethod.MERGE,
}
_SCANS = {"Sequential Scan": ScanMethod.SEQ, "Index Scan": ScanMethod.INDEX}
_JOIN_TYPES = {"outer": "full", "full_outer": "full", "mark": "left", "single": "left"}
_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
_OUTSIDE = frozenset({"RESULT_COLLECTOR", "EXPLAIN_ANALYZE"})
_FILTERING = frozenset({"semi", "anti", "left"})


def parse_plan(text: str, query: Query, schema: Schema, leading: Sequence[Leading] = ()) -> Plan:
    """Read what EXPLAIN (FORMAT JSON), with or without ANALYZE, returned.

    Args:
        text: The document.
        query: The query that was explained.
        schema: What its tables and views are.
        leading: The join orders that were asked for and obeyed.
    """
    document = json.loads(text)
    (node,) = document if isinstance(document, list) else document["operator"]
    while _name(node) in _OUTSIDE:
        (node,) = node["children"]
    names = _Names(query, schema)
    plan = _node(node, names, {})
    for each in leading:
        plan = _with_leaves(plan, each.tree, names)
    return plan


def _node(node: Mapping[str, Any], names: _Names, ctes: Mapping[str, str]) -> Plan:
    info: Mapping[str, Any] = node.get("extra_info") or {}
    name = _name(node)
    if name in ("CTE", "REC_CTE"):
        ctes = {**ctes, str(info.get("Table Index")): str(info.get("CTE Name"))}
    inputs = [_node(child, names, ctes) for child in node.get("children", ())]
    if name == "CTE":
        definition, main = inputs
        return replace(
            main,
            node="CTE",
            join=None,
            scan=None,
            join_type=None,
            alias=None,
            relation=None,
            children=(main,),
            subplans=(definition,),
        )
    scan = _SCANS.get(str(info.get("Type")))
    function = str(info["Function"]) if "Function" in info else None
    if name == "TABLE_SCAN":
        name = function or ("INDEX_SCAN" if scan is ScanMethod.INDEX else "SEQ_SCAN")
    relation = names.of_table(info["Table"]) if "Table" in info else None
    if name in ("CTE_SCAN", "REC_CTE_SCAN"):
        relation = ctes.get(str(info.get("CTE Index")))
    elif name == "REC_CTE":
        relation = str(info.get("CTE Name"))
    elif function is not None:
        relation = function.lower()
    join = _JOINS.get(name)
    time_s = node.get("timing")
    return Plan(
        node=name,
        join=join,
        scan=scan if "Table" in info else None,
        join_type=None if join is None else _join_type(info),
        alias=None if name == "REC_CTE_SCAN" else names.alias(relation, "Table" in info),
        relation=relation,
        est_rows=float(info.get("Estimated Cardinality", 0.0)),
        rows=None if time_s is None else float(node.get("intermediate_rows", 0)),
        loops=None if time_s is None else 1.0,
        time_ms=None if time_s is None else 1000 * float(time_s) + sum(child.time_ms or 0.0 for child in inputs),
        children=tuple(inputs),
    )


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("name") or node.get("type")).strip()


def _join_type(info: Mapping[str, Any]) -> str:
    kind = str(info.get("Join Type", "INNER")).lower().removeprefix("right_")
    return _JOIN_TYPES.get(kind, kind)


class _Names:
    """What the query calls what the plan names."""

    def __init__(self, query: Query, schema: Schema) -> None:
        self._schema = schema
        self._database = schema.database
        self.relations = {relation.alias: relation for relation in query.relations if relation.hintable}
        in_views = " ".join(self._view_texts(query)).lower()
        stands = Counter(self._key(relation) for relation in query.relations)
        self._alias = {
            self._key(relation): relation.alias
            for relation in query.relations
            if relation.kind in ("table", "cte", "function")
            and relation.hintable
            and stands[self._key(relation)] == 1
            and not _mentions(in_views, str(relation.name).rpartition(".")[2])
        }

    def of_table(self, written: str) -> str:
        """Return "schema.name" for what a plan writes as "database.schema.name"."""
        parts = [quoted.replace('""', '"') or plain for quoted, plain in _IDENTIFIER.findall(written)]
        return ".".join(parts[1:] if parts[:1] == [self._database] and len(parts) > 2 else parts)

    def alias(self, relation: str | None, is_table: bool) -> str | None:
        """Return the alias of a table ("schema.name"), function or CTE, where it is certain."""
        return None if relation is None else self._alias.get((is_table, relation.lower()))

    def is_leaf(self, relation: Relation, plan: Plan) -> bool:
        """Whether a plan that joins nothing reads this relation."""
        kind = relation.kind
        if kind == "table" and not self._is_view(relation):
            return self._key(relation) in {(True, str(node.relation).lower()) for node in _reads(plan)}
        if kind in ("cte", "function"):
            return self._key(relation) in {(False, str(node.relation).lower()) for node in _reads(plan)}
        return True

    def has_node(self, relation: Relation) -> bool:
        """Whether a plan shows the relation by a node of its own; a subquery is seen by what it reads."""
        return relation.kind != "subquery"

    def _key(self, relation: Relation) -> tuple[bool, str]:
        name = str(relation.name)
        if relation.kind == "table":
            table = self._schema.catalog.table(name) or self._schema.catalog.table(self.of_table(name))
            return True, (f"{table.schema}.{table.name}" if table else name).lower()
        return False, name.lower()

    def _is_view(self, relation: Relation) -> bool:
        return relation.kind == "table" and self._key(relation)[1] in self._schema.views

    def _view_texts(self, query: Query) -> Iterator[str]:
        """Yield the text of every view that the query reads, also through another."""
        waiting = [self._key(relation)[1] for relation in query.relations if self._is_view(relation)]
        seen: set[str] = set()
        while waiting:
            view = waiting.pop()
            if view not in seen:
                seen.add(view)
                text = self._schema.views[view]
                yield text
                waiting += [other for other in self._schema.views if _mentions(text, other.rpartition(".")[2])]


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A part of the plan, and the alias that it stands for."""

    plan: Plan
    alias: str


def _with_leaves(plan: Plan, tree: Join, names: _Names) -> Plan:
    """Give the leaves of the part of the plan that makes exactly these joins their aliases; any other plan is left alone."""
    for node in plan.walk():
        leaves = _leaves(node, tree, names)
        if leaves is not None:
            return _renamed(plan, {id(leaf.plan): leaf.alias for leaf in leaves})
    return plan


def _leaves(plan: Plan, tree: JoinTree, names: _Names) -> list[_Leaf] | None:
    if isinstance(tree, str):
        return _leaf(plan, tree, names)
    node = plan
    while node.join is None and len(node.children) == 1:
        node = node.children[0]
    if node.join is None:
        return None
    left, right = (
        _leaves(child, side, names) for child, side in zip(node.children, (tree.left, tree.right), strict=True)
    )
    if left is not None and right is not None:
        return left + right
    # A semi-join of a subquery may stand between two joins of the tree.
    return _leaves(node.children[0], tree, names) if node.join_type in _FILTERING else None


def _leaf(plan: Plan, alias: str, names: _Names) -> list[_Leaf] | None:
    relation = names.relations.get(alias)
    if relation is None or not names.is_leaf(relation, plan):
        return None
    reads = list(_reads(plan))
    if not names.has_node(relation):
        return []
    return [_Leaf(reads[0] if len(reads) == 1 else plan, alias)]


def _reads(plan: Plan) -> Iterator[Plan]:
    for node in plan.walk():
        if not node.children:
            yield node


def _renamed(plan: Plan, aliases: Mapping[int, str]) -> Plan:
    return replace(
        plan,
        alias=aliases.get(id(plan), plan.alias),
        children=tuple(_renamed(child, aliases) for child in plan.children),
        subplans=tuple(_renamed(child, aliases) for child in plan.subplans),
    )
