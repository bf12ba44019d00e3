"""What a connection sees: tables and views, their columns, indexes and sizes, read from the system catalogs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trellis.sql.catalog import Catalog, Index, Table
from trellis_postgres.session import Session

_TABLES = """
SELECT pg_catalog.json_build_object(
         'oid', c.oid, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
         'visible', pg_catalog.pg_table_is_visible(c.oid),
         'readable', pg_catalog.has_any_column_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
         'rows', CASE WHEN c.relkind IN ('v', 'f') OR c.reltuples < 0 OR (c.reltuples = 0 AND c.relpages = 0) THEN NULL
                      WHEN c.relkind = 'p' OR c.relpages = 0 THEN c.reltuples
                      ELSE c.reltuples::float8 * pg_catalog.pg_relation_size(c.oid) / c.relpages
                           / pg_catalog.current_setting('block_size')::float8 END,
         'analyzed', pg_catalog.date_part('epoch', GREATEST(
             pg_catalog.pg_stat_get_last_analyze_time(c.oid), pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid))),
         'definition', CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
         'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                              a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
                     FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
"""
_INDEXES = """
SELECT pg_catalog.json_build_object(
         'table', i.indrelid, 'name', x.relname, 'unique', i.indisunique, 'method', m.amname,
         'columns', (SELECT pg_catalog.json_agg(pg_catalog.pg_get_indexdef(i.indexrelid, k, true) ORDER BY k)
                     FROM pg_catalog.generate_series(1, i.indnkeyatts) k))
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_am m ON m.oid = x.relam
WHERE i.indisvalid AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY x.relname
"""
_KINDS = {"r": "table", "v": "view", "m": "materialized view", "p": "partitioned table", "f": "foreign table"}


@dataclass(frozen=True, slots=True)
class Schema:
    """The catalog, and what only this backend needs to know beside it.

    Attributes:
        catalog: What everybody reads.
        views: The text of each view's query, under the names that the catalog has for it.
    """

    catalog: Catalog
    views: Mapping[str, str]


def read_schema(session: Session, *, timeout_ms: float) -> Schema:
    """Read what the session's role may read, in all schemas but the system's."""
    found = list(_objects(session.run(_TABLES, timeout_ms=timeout_ms).rows))
    indexes: dict[int, dict[str, Index]] = {}
    for each in _objects(session.run(_INDEXES, timeout_ms=timeout_ms).rows):
        index = Index(each["name"], tuple(each["columns"]), each["unique"], each["method"])
        indexes.setdefault(each["table"], {})[index.name] = index
    tables: dict[str, Table] = {}
    views: dict[str, str] = {}
    shape: list[object] = []
    for each in found:
        table = Table(
            name=each["name"],
            schema=each["schema"],
            columns=dict(each["columns"] or ()),
            indexes=indexes.get(each["oid"], {}),
            # As many as the pages that are there now would hold at the density of the last ANALYZE: so the planner counts.
            rows=each["rows"],
            analyzed="" if each["analyzed"] is None else str(each["analyzed"]),
            kind=_KINDS[each["kind"]],
        )
        # Of all tables and under their full names, so that every role and search path sees the same version.
        shape.append(
            (
                f"{table.schema}.{table.name}",
                table.kind,
                [*table.columns.items()],
                [repr(index) for index in table.indexes.values()],
                each["definition"],
            )
        )
        if not each["readable"]:
            continue
        names = [f"{table.schema}.{table.name}"] + [table.name] * each["visible"]
        tables.update(dict.fromkeys(names, table))
        if each["definition"] is not None:
            views.update(dict.fromkeys(names, each["definition"]))
    version = hashlib.blake2b(json.dumps(shape).encode(), digest_size=16).hexdigest()
    return Schema(Catalog(tables, version), views)


def _objects(rows: Iterable[tuple[bytes | None, ...]]) -> Iterable[dict[str, Any]]:
    for (value,) in rows:
        assert value is not None
        yield json.loads(value)
