"""What has changed in a database since a plan was measured, in words.

`Catalog.version` says that the schema has; what, is told by the tables themselves, which are noted in the journal under each
version that is seen. A change that touches no table of a query leaves its plans alone.

What a measurement rests on beside the schema is its ground, written with it: how many rows its tables had, and the two plans that
were compared. Tables of twice as many rows or half, and statistics or a schema under which the planner now takes another plan, by
default or under the hints, make the comparison one of something else. Where the planner can be asked and takes the same plans, a
change of the schema has changed nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

from trellis.errors import ConnectionLostError, SQLError
from trellis.memory.journal import Journal, MeasurementEntry
from trellis.sql.catalog import Catalog
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints

if TYPE_CHECKING:
    from trellis.contracts import DatabaseBackend
    from trellis.sql.plan import Plan
    from trellis.sql.query import Query

GROWTH = 2.0
"""A table that has so many times the rows, or so many times fewer, is another table for a planner."""

Tables: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By "schema.name": "kind", "columns" (name to type), "indexes" (name to description)."""

_NOT_KNOWN_BY_ITSELF = ("view", "foreign table")


def note_catalog(journal: Journal, catalog: Catalog) -> None:
    """Note a catalog's tables in the journal under its version, unless they are there."""
    if journal.note(_name(catalog.version)) is None:
        journal.note(_name(catalog.version), json.dumps(described(catalog), ensure_ascii=False))


def described(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Return what of each table a plan may rest on."""
    return {
        f"{table.schema}.{table.name}": {
            "kind": table.kind,
            "columns": dict(table.columns),
            "indexes": {
                index.name: f"{'unique ' if index.unique else ''}{index.method} ({', '.join(index.columns)})"
                for index in table.indexes.values()
            },
        }
        for table in catalog.tables.values()
    }


def ground_of(query: Query, catalog: Catalog, *, default: Plan, plan: Plan, settings: Mapping[str, str]) -> str:
    """Return what a measurement rests on beside the schema, for `MeasurementEntry.ground`.

    Args:
        query: The query.
        catalog: As it is now.
        default: The plan that it was compared with.
        plan: The plan that was measured.
        settings: What both ran under, as `DatabaseBackend.settings` has it.
    """
    tables = (catalog.table(name) for name in _names(query))
    rows = {f"{t.schema}.{t.name}": round(t.rows) for t in tables if t is not None and t.rows is not None}
    ground = {"rows": rows, "default": _digest(default), "plan": _digest(plan), "settings": dict(settings)}
    return json.dumps(ground, ensure_ascii=False)


def drift_of(
    query: Query, journal: Journal, catalog: Catalog, server_version: int, *, planner: DatabaseBackend | None = None
) -> Callable[[MeasurementEntry], str]:
    """Return what says of a measurement of a query what has changed since.

    Args:
        query: The query.
        journal: Holds the tables of earlier catalogs.
        catalog: As it is now.
        server_version: As it is now; versions whose number before the last four digits is the same plan alike.
        planner: Asked for the plans that would run now, which takes two EXPLAINs; left out, plans are not compared.
    """
    known: dict[str, str] = {}
    digests: dict[str, str] = {}

    def drift(m: MeasurementEntry) -> str:
        if m.server_version // 10_000 != server_version // 10_000:
            return f"the server's version was {m.server_version} when it was measured and is {server_version} now"
        if m.catalog_version != catalog.version and m.catalog_version not in known:
            noted = journal.note(_name(m.catalog_version))
            known[m.catalog_version] = (
                "the schema has changed since it was measured"
                if noted is None
                else changes(json.loads(noted), catalog, _names(query))
            )
        said = known.get(m.catalog_version, "")
        if not m.ground:
            return said
        grown, ground = growth(m, catalog), json.loads(m.ground)
        if grown or planner is None or dict(planner.settings) != ground["settings"]:
            return "; ".join(filter(None, (said, grown)))
        for hints, what in (("", "default"), (m.hints, "plan")):
            if hints not in digests:
                digests[hints] = _planned(planner, query, hints)
            if digests[hints] != ground[what]:
                by = "by default" if what == "default" else "under its hints"
                return said or f"the planner takes another plan {by} than when it was measured"
        return ""

    return drift


def _planned(planner: DatabaseBackend, query: Query, hints: str) -> str:
    try:
        return _digest(planner.explain(query, parse_hints(hints) if hints else PlanHints()))
    except ConnectionLostError:
        raise
    except SQLError as error:
        return f"no plan: {error}"


def _digest(plan: Plan) -> str:
    return blake2b(repr(plan.shape()).encode(), digest_size=8).hexdigest()


def _names(query: Query) -> list[str]:
    return [relation.name for relation in query.relations if relation.kind == "table" and relation.name]


def growth(m: MeasurementEntry, catalog: Catalog) -> str:
    """Return which of a measurement's tables have other numbers of rows now; empty where none has."""
    said = []
    for name, rows in tables_of(m).items():
        table = catalog.tables.get(name)
        if table is None or table.rows is None or 1 / GROWTH < (table.rows + 1) / (rows + 1) < GROWTH:
            continue
        said.append(f"the table {name} had {rows:,} rows when it was measured and has {table.rows:,.0f} now")
    return "; ".join(said)


def tables_of(m: MeasurementEntry) -> dict[str, int]:
    """Return by "schema.name" how many rows a measurement's tables had; none where nobody knows."""
    return dict(json.loads(m.ground)["rows"]) if m.ground else {}


def changes(before: Tables, catalog: Catalog, names: Iterable[str]) -> str:
    """Return in words what has changed of some tables; empty where nothing has.

    Args:
        before: The tables as they were.
        catalog: As it is now.
        names: Tables as a query writes them.
    """
    now = described(catalog)
    said: list[str] = []
    for name in names:
        table = catalog.table(name)
        if table is None:
            said.append(f"the table {name} is not there any more")
            continue
        full = f"{table.schema}.{table.name}"
        if table.kind in _NOT_KNOWN_BY_ITSELF:
            said.append(f"the schema has changed, and {name} is a {table.kind}, which may rest on what did")
        elif full not in before:
            said.append(f"the table {name} is new")
        elif before[full] != now[full]:
            said += _table_changes(name, before[full], now[full])
    return "; ".join(dict.fromkeys(said))


def _table_changes(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    said = []
    for what, word in (("indexes", "index"), ("columns", "column")):
        old, new = before[what], now[what]
        said += [f"the {word} {each} of {name} is gone" for each in old if each not in new]
        said += [f"the {word} {each} of {name} is new" for each in new if each not in old]
        said += [
            f"the {word} {each} of {name} was {old[each]} and is {new[each]}"
            for each in old
            if each in new and old[each] != new[each]
        ]
    return said or [f"{name} was a {before['kind']} and is a {now['kind']}"]


def _name(version: str) -> str:
    return f"catalog {version}"
