"""PostgreSQL, 13 and later: an embedded server or any that a DSN names, under hints that its planner takes.

`trellis_postgres.backend.Postgres(PostgresConfig(dsn="…"))` explains and executes queries; without a DSN a real PostgreSQL
starts in a directory of its own. In a pipeline it is `{use: postgres, with: {dsn: "${env:DATABASE}"}}`, after
`pip install 'trellis[postgres]'`. `trellis_postgres.setup.setup_role` makes the role that may only read.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_postgres.config import PostgresConfig


@hookimpl
def trellis_database_backends() -> Iterable[Component]:
    """Return the backend of this plugin."""
    yield Component(
        "postgres",
        "PostgreSQL, embedded or by DSN; hints by rewriting, pg_hint_plan or pg_plan_advice",
        PostgresConfig,
        "trellis_postgres.backend:Postgres",
        capabilities=frozenset({"join-order", "join-method", "buffers", "administrator", "recorded", "serving"}),
        extra="postgres",
        modules=("psycopg", "sqlglot"),
    )
