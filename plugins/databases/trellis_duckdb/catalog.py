"""What a connection sees: tables and views, their columns, indexes and sizes, read from DuckDB's own tables.

An index that only holds up a PRIMARY KEY or UNIQUE constraint has no name in DuckDB, so it is not listed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trellis.sql.catalog import Catalog, Index, Table
from trellis_duckdb.session import Session

_TABLES = """
SELECT schema_name, table_name, 'table', estimated_size, NULL FROM duckdb_tables()
WHERE database_name = current_database() AND NOT internal AND NOT temporary
UNION ALL
SELECT schema_name, view_name, 'view', NULL, sql FROM duckdb_views()
WHERE database_name = current_database() AND NOT internal AND NOT temporary
ORDER BY 1, 2
"""
_COLUMNS = """
SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()
WHERE database_name = current_database() AND NOT internal ORDER BY schema_name, table_name, column_index
"""
_INDEXES = """
SELECT schema_name, table_name, index_name, is_unique, expressions FROM duckdb_indexes()
WHERE database_name = current_database() ORDER BY index_name
"""
_BETWEEN_EXPRESSIONS = re.compile(r", (?![^()]*\))")


@dataclass(frozen=True, slots=True)
class Schema:
    """The catalog, and what only this backend needs to know beside it.

    Attributes:
        database: How DuckDB's plans call the database.
        catalog: What everybody reads.
        views: The text of each view by "schema.name" in lower case.
    """

    database: str
    catalog: Catalog
    views: Mapping[str, str]


def read_schema(session: Session, *, timeout_ms: float) -> Schema:
    """Read all schemas of the database but the system's."""
    ((database,),) = session.run("SELECT current_database()", timeout_ms=timeout_ms).rows
    columns: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, data_type in session.run(_COLUMNS, timeout_ms=timeout_ms).rows:
        columns.setdefault((schema, table), {})[column] = data_type
    indexes: dict[tuple[str, str], dict[str, Index]] = {}
    for schema, table, name, unique, expressions in session.run(_INDEXES, timeout_ms=timeout_ms).rows:
        keys = tuple(_BETWEEN_EXPRESSIONS.split(expressions.strip("[]")))
        indexes.setdefault((schema, table), {})[name] = Index(name, keys, unique, "art")
    tables: dict[str, Table] = {}
    views: dict[str, str] = {}
    for schema, name, kind, rows, definition in session.run(_TABLES, timeout_ms=timeout_ms).rows:
        where = (schema, name)
        size = None if rows is None else float(rows)
        table = Table(name, schema, columns.get(where, {}), indexes.get(where, {}), size, kind)
        # Names are the same in upper and lower case, quoted or not.
        full = f"{schema}.{name}".lower()
        tables.update(dict.fromkeys([full] + [name.lower()] * (schema == "main"), table))
        if definition is not None:
            views[full] = definition
    shape = [
        (name, table.kind, [*table.columns.items()], [repr(index) for index in table.indexes.values()], views.get(name))
        for name, table in sorted(tables.items())
    ]
    version = hashlib.blake2b(json.dumps(shape).encode(), digest_size=16).hexdigest()
    return Schema(database, Catalog(tables, version), views)
