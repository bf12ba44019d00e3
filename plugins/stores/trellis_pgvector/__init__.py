"""Records in a table of a PostgreSQL with the extension pgvector.

`{use: pgvector, with: {dsn: postgresql://user@host/database}}` in a pipeline, or `needs: {database: …}` for a database with an
administrator, such as the embedded one; after `pip install 'trellis[postgres]'`.
"""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_pgvector.config import HNSWConfig, PgVectorConfig

_NEEDS = {"database": Need("database", optional=True, capabilities=frozenset({"administrator"}))}


@hookimpl
def trellis_retrieval_stores() -> Iterable[Component]:
    """Return the stores of this plugin."""
    yield Component(
        "pgvector",
        "a table in PostgreSQL, compared as a whole; exact",
        PgVectorConfig,
        "trellis_pgvector.store:PgVector",
        needs=_NEEDS,
        capabilities=frozenset({"persistent", "exact"}),
        extra="postgres",
        modules=("psycopg",),
    )
    yield Component(
        "pgvector-hnsw",
        "a table in PostgreSQL with an HNSW index; nearly exact",
        HNSWConfig,
        "trellis_pgvector.hnsw:HNSW",
        needs=_NEEDS,
        capabilities=frozenset({"persistent"}),
        extra="postgres",
        modules=("psycopg",),
    )
