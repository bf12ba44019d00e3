"""What the planner expects of each relation: how many rows it has, and how many are left after the conditions on it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trellis.sql.hints import PlanHints, Switch
from trellis.sql.join_trees import PlanReading

if TYPE_CHECKING:
    from trellis.sql.catalog import Catalog
    from trellis.sql.plan import Plan
    from trellis.sql.query import Query

ON_THEIR_OWN = PlanHints(switches=(Switch("enable_nestloop", on=False),))
"""Hints under which relations are read on their own: a plan's nested loop may look one up by the other's values, and the rows
of such a scan are those of one look-up, not of the conditions on the relation."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the planner expects of a relation.

    Attributes:
        table_rows: Rows in the table; None where the catalog does not know, or it is no table.
        rows: Rows after the conditions on it alone; None where the plan does not read it by its name.
    """

    table_rows: float | None
    rows: float | None

    @property
    def selectivity(self) -> float | None:
        """The share of rows left, in (0, 1]; None where either number is not known."""
        if self.table_rows is None or self.rows is None:
            return None
        whole = max(self.table_rows, 1.0)
        return min(max(self.rows, 1.0) / whole, 1.0)


def estimates(plan: Plan, query: Query, catalog: Catalog) -> dict[str, Estimate]:
    """Return the planner's expectations, by alias that hints can name.

    Args:
        plan: A plan of the query, best that under `ON_THEIR_OWN`.
        query: The query.
        catalog: How many rows the tables have.
    """
    reading = PlanReading(PlanHints(), plan, query)
    rows: dict[str, float] = {}

    for node in plan.walk():
        alias = reading.alias(node)
        if alias is not None:
            # Partitions are read one by one under their table's alias.
            rows[alias] = rows.get(alias, 0.0) + node.est_rows
    found: dict[str, Estimate] = {}
    for relation in query.relations:
        if relation.hintable:
            known = catalog.table(relation.name) if relation.kind == "table" and relation.name is not None else None
            found[relation.alias] = Estimate(None if known is None else known.rows, rows.get(relation.alias))
    return found
