"""What has changed in a database since a plan was measured, in words.

`Catalog.version` says that something has; what, is told by the tables themselves, which are noted in the journal under each
version that is seen. A change that touches no table of a query leaves its plans alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from trellis.memory.journal import Journal, MeasurementEntry
from trellis.sql.catalog import Catalog

if TYPE_CHECKING:
    from trellis.sql.query import Query

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


def drift_of(
    query: Query, journal: Journal, catalog: Catalog, server_version: int
) -> Callable[[MeasurementEntry], str]:
    """Return what says of a measurement of a query what has changed since.

    Args:
        query: The query.
        journal: Holds the tables of earlier catalogs.
        catalog: As it is now.
        server_version: As it is now; versions whose number before the last four digits is the same plan alike.
    """
    known: dict[str, str] = {}
    names = [r.name for r in query.relations if r.kind == "table" and r.name]

    def drift(m: MeasurementEntry) -> str:
        if m.server_version // 10_000 != server_version // 10_000:
            return f"the server's version was {m.server_version} when it was measured and is {server_version} now"
        if m.catalog_version == catalog.version:
            return ""
        if m.catalog_version not in known:
            noted = journal.note(_name(m.catalog_version))
            known[m.catalog_version] = (
                "the schema has changed since it was measured"
                if noted is None
                else changes(json.loads(noted), catalog, names)
            )
        return known[m.catalog_version]

    return drift


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
