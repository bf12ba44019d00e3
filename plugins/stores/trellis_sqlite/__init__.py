"""Records in one SQLite file, found by comparing with all of them: exact, and quick up to some hundred thousand.

`{use: sqlite, with: {path: vectors.db}}` in a pipeline. Any number of processes may read and write the file at once.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_sqlite.config import SQLiteConfig


@hookimpl
def trellis_retrieval_stores() -> Iterable[Component]:
    """Return the store of this plugin."""
    yield Component(
        "sqlite",
        "one SQLite file and a matrix in memory; exact",
        SQLiteConfig,
        "trellis_sqlite.store:SQLiteStore",
        capabilities=frozenset({"persistent", "exact"}),
    )
