"""DuckDB, in this process: a database file opened read-only, or an empty database in memory to load with data.

`trellis_duckdb.backend.DuckDB(DuckDBConfig(path="shop.duckdb"))` explains and executes queries. In a pipeline it is
`{use: duckdb, with: {path: shop.duckdb}}`, after `pip install 'trellis[duckdb]'`.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_duckdb.config import DuckDBConfig


@hookimpl
def trellis_database_backends() -> Iterable[Component]:
    """Return the backend of this plugin."""
    yield Component(
        "duckdb",
        "DuckDB, embedded; join orders by rewriting, with its own join optimizer off",
        DuckDBConfig,
        "trellis_duckdb.backend:DuckDB",
        capabilities=frozenset({"join-order", "join-side"}),
        extra="duckdb",
        modules=("duckdb", "sqlglot"),
    )
