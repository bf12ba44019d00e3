"""EXPLAIN (FORMAT JSON), read into a `Plan`.

Deviations from what EXPLAIN shows: a "Right Semi" and a "Right Anti" join are "semi" and "anti", their children stay as they are;
a partition's alias, which PostgreSQL makes up by numbering its table's, is the table's again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from trellis.sql.hints import JoinMethod, ScanMethod
from trellis.sql.plan import Plan

_JOINS = {"Nested Loop": JoinMethod.NEST_LOOP, "Hash Join": JoinMethod.HASH, "Merge Join": JoinMethod.MERGE}
_SCANS = {
    "Seq Scan": ScanMethod.SEQ,
    "Index Scan": ScanMethod.INDEX,
    "Index Only Scan": ScanMethod.INDEX_ONLY,
    "Bitmap Heap Scan": ScanMethod.BITMAP,
}
_SUBPLANS = frozenset({"InitPlan", "SubPlan"})
_NUMBERED = re.compile(r"(.+)_\d+\Z")


def parse_plan(text: str | bytes, *, aliases: Collection[str] = ()) -> Plan:
    """Read what EXPLAIN (FORMAT JSON) returned.

    Args:
        text: One JSON document: a list of one object that holds "Plan".
        aliases: Those that the query uses once, so that a partition's made-up alias can be told from one of them.
    """
    (document,) = json.loads(text)
    return _node(document["Plan"], frozenset(aliases))


def _node(node: Mapping[str, Any], aliases: frozenset[str]) -> Plan:
    kind = str(node["Node Type"])
    below = node.get("Plans", ())
    children = tuple(_node(child, aliases) for child in below if child.get("Parent Relationship") not in _SUBPLANS)
    subplans = tuple(_node(child, aliases) for child in below if child.get("Parent Relationship") in _SUBPLANS)
    join = _JOINS.get(kind)
    scan = _SCANS.get(kind)
    schema, relation = node.get("Schema"), node.get("Relation Name")
    return Plan(
        node=kind,
        join=join,
        scan=scan,
        join_type=None if join is None else str(node.get("Join Type", "Inner")).lower().removeprefix("right ") or None,
        alias=_alias(node.get("Alias"), aliases),
        relation=f"{schema}.{relation}" if schema and relation else relation,
        index=_bitmap_index(children) if scan is ScanMethod.BITMAP else node.get("Index Name"),
        est_rows=float(node.get("Plan Rows", 0.0)),
        rows=_number(node.get("Actual Rows")),
        loops=_number(node.get("Actual Loops")),
        cost=float(node.get("Total Cost", 0.0)),
        time_ms=_number(node.get("Actual Total Time")),
        blocks=None if "Shared Hit Blocks" not in node else node["Shared Hit Blocks"] + node["Shared Read Blocks"],
        children=children,
        subplans=subplans,
    )


def _alias(alias: str | None, aliases: frozenset[str]) -> str | None:
    if alias is not None and alias not in aliases:
        numbered = _NUMBERED.match(alias)
        if numbered is not None and numbered[1] in aliases:
            return numbered[1]
    return alias


def _bitmap_index(children: tuple[Plan, ...]) -> str | None:
    found = {node.index for child in children for node in child.walk() if node.index is not None}
    return found.pop() if len(found) == 1 else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
