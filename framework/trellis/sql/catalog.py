"""What a database holds, as far as reading queries and checking hints needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Index:
    """An index.

    Attributes:
        name: Its name, without a schema.
        columns: Its key columns in order; an expression stands as its text.
        unique: Whether it enforces uniqueness.
        method: "btree", "hash", "gin", …
    """

    name: str
    columns: tuple[str, ...] = ()
    unique: bool = False
    method: str = "btree"


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view.

    Attributes:
        name: Without a schema.
        schema: Its schema.
        columns: Name and type of each column, in the table's order.
        indexes: By name.
        rows: How many rows the planner believes it has; None where it does not know.
        kind: "table", "view", "materialized view", "partitioned table" or "foreign table".
        analyzed: Changes whenever the planner's statistics of it are collected; empty where nobody knows when they are.
    """

    name: str
    schema: str = "public"
    columns: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, Index] = field(default_factory=dict)
    rows: float | None = None
    kind: str = "table"
    analyzed: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables that a connection sees.

    Attributes:
        tables: By name where the search path finds them without a schema, and by "schema.name" always.
        version: Changes whenever the schema does (columns, indexes): knowledge about plans may be stale after it.
    """

    tables: Mapping[str, Table] = field(default_factory=dict)
    version: str = ""

    def table(self, name: str) -> Table | None:
        """Return a table by name, "schema.name" or, folded to lower case, as PostgreSQL reads an unquoted name."""
        return self.tables.get(name) or self.tables.get(name.lower())
