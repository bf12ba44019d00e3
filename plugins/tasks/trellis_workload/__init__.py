"""Workloads of SQL queries, as tasks whose solutions are plan hints, judged by running them.

`{use: queries, with: {paths: [queries.sql]}, needs: {database: database}}` reads your files, `recorded` what
pg_stat_statements remembers, and `shop` generates a database and queries that planners get wrong; each after
`pip install 'trellis[postgres]'`.
"""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_workload.config import FilesConfig, RecordedConfig, ShopConfig


@hookimpl
def trellis_tasks() -> Iterable[Component]:
    """Return the tasks of this plugin."""
    yield Component(
        "queries",
        "the queries of your SQL files and folders, on your database",
        FilesConfig,
        "trellis_workload.task:Files",
        needs={"database": Need("database"), "prompt": Need("prompt", optional=True)},
        capabilities=frozenset({"traces", "legal-steps", "plan-hints"}),
        extra="postgres",
        modules=("sqlglot",),
    )
    yield Component(
        "recorded",
        "what the database remembers having run (pg_stat_statements), with constants from its statistics",
        RecordedConfig,
        "trellis_workload.recorded:Recorded",
        needs={
            "database": Need("database", capabilities=frozenset({"recorded"})),
            "prompt": Need("prompt", optional=True),
        },
        capabilities=frozenset({"traces", "legal-steps", "plan-hints"}),
        extra="postgres",
        modules=("sqlglot",),
    )
    yield Component(
        "shop",
        "a generated shop, skewed and correlated, with queries that planners get wrong",
        ShopConfig,
        "trellis_workload.task:Shop",
        needs={"database": Need("database"), "prompt": Need("prompt", optional=True)},
        capabilities=frozenset({"traces", "legal-steps", "plan-hints"}),
        extra="postgres",
        modules=("psycopg", "sqlglot"),
    )
