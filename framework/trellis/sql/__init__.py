"""What every database plugin shares: queries, plan hints with their grammar, plans, and the comparison of the two.

`connect`, `connect_async`, `Connection` and `AsyncConnection` are of the upper floors (`trellis.connecting`) and come in when
they are first used: what an application calls has one name, wherever it is made.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trellis.sql.catalog import Catalog, Index, Table
from trellis.sql.compare import Verdict, compare
from trellis.sql.decoding import alias_indexes, gbnf, lark
from trellis.sql.fit import check_hints
from trellis.sql.from_plan import plan_hints
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import (
    SWITCHES,
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
)
from trellis.sql.join_trees import join_tree
from trellis.sql.lint import LintFinding, lint, mended
from trellis.sql.plan import Plan
from trellis.sql.query import Block, Edge, OuterJoin, Query, Relation
from trellis.sql.random_hints import random_hints
from trellis.sql.renaming import Renaming

if TYPE_CHECKING:
    from trellis.connecting import AsyncConnection, Connection, connect, connect_async

_LAZY = ("AsyncConnection", "Connection", "connect", "connect_async")

__all__ = [
    "SWITCHES",
    "AsyncConnection",
    "Block",
    "Catalog",
    "Connection",
    "Edge",
    "Hint",
    "Index",
    "Join",
    "JoinHint",
    "JoinMethod",
    "JoinTree",
    "Leading",
    "LintFinding",
    "OuterJoin",
    "Plan",
    "PlanHints",
    "Query",
    "Relation",
    "Renaming",
    "ScanHint",
    "ScanMethod",
    "Switch",
    "Table",
    "Verdict",
    "alias_indexes",
    "check_hints",
    "compare",
    "connect",
    "connect_async",
    "gbnf",
    "join_tree",
    "lark",
    "lint",
    "mended",
    "parse_hints",
    "plan_hints",
    "random_hints",
]


def __getattr__(name: str) -> Any:
    """Import what serves applications when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'trellis.sql' has no attribute '{name}'")
    value = globals()[name] = getattr(importlib.import_module("trellis.connecting"), name)
    return value
