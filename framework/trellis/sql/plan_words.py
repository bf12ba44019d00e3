"""A plan in words, for linear rewards: how each join is planned, and what the planner expects of it.

Of every join: its method; with the method the rows it returns, those of its outer and of its inner input, each as a power of 4,
and its cost as a multiple of the default plan's, in half powers of 2. These mean the same in every query. Said again under the
query's template they are words of that template alone, and so is which relations are joined by which method: where the planner
errs on a template, a weight of its own can mend it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import TYPE_CHECKING

from trellis.sql.hints import PlanHints
from trellis.sql.join_trees import PlanReading

if TYPE_CHECKING:
    from trellis.sql.plan import Plan
    from trellis.sql.query import Query

_MOST = 12
"""Costs are told apart up to 2 to the power of half this, in either direction."""


def joined_words(template: str, names: list[str]) -> list[str]:
    """Return the word for relations being joined: known before there is a plan."""
    return [f"{template} {' '.join(sorted(names))}"]


def plan_words(plan: Plan, query: Query, *, default: Plan, names: Mapping[str, str], template: str) -> list[str]:
    """Return the words of a plan.

    Args:
        plan: A plan of the query.
        query: The query.
        default: The plan without hints: costs are relative to its own.
        names: By alias the name that queries of one template have in common; an alias without one stands for itself.
        template: What queries have in common whose words should count alike.
    """
    reading = PlanReading(PlanHints(), plan, query)
    found: list[str] = []
    for block in query.blocks:
        for node, aliases in reading.joins(frozenset(block.aliases)):
            assert node.join is not None
            method = node.join.value
            outer, inner = node.children[:2]
            cost = round(2 * (log2(max(node.cost, 1e-3)) - log2(max(default.cost, 1e-3))))
            everywhere = [
                method,
                f"{method} rows {_magnitude(node.est_rows)}",
                f"{method} outer {_magnitude(outer.est_rows)}",
                f"{method} inner {_magnitude(inner.est_rows)}",
                f"{method} cost {min(max(cost, -_MOST), _MOST)}",
            ]
            joined = " ".join(sorted(names.get(alias, alias) for alias in aliases))
            found += [*everywhere, *(f"{template} {word}" for word in everywhere), f"{template} {method} {joined}"]
    return found


def _magnitude(rows: float) -> int:
    return int(log2(max(rows, 1.0)) // 2)
