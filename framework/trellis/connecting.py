"""Connections for applications: the database's own driver, which serves the plans that a journal says are faster.

connection = trellis.sql.connect("postgresql://app@db/shop", memory="shop.db")
pool = psycopg_pool.ConnectionPool(dsn, connection_class=trellis.sql.Connection, kwargs={"memory": "shop.db"})
engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: trellis.sql.connect(dsn, memory="shop.db"))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trellis.memory.serving import ServingConfig
from trellis.plugins import registry

if TYPE_CHECKING:
    import psycopg

    Connection: type[Any]
    AsyncConnection: type[Any]


def connect(
    dsn: str = "",
    *,
    memory: str | Path,
    serving: ServingConfig | Mapping[str, Any] | None = None,
    database: str = "postgres",
    autocommit: bool = False,
    prepare_threshold: int | None = 5,
    row_factory: Any = None,
    cursor_factory: Any = None,
) -> psycopg.Connection[Any]:
    """Connect to a database for an application; its queries are served what the memory's decisions say.

    The connection is psycopg's in all respects. A query that has no decision is sent untouched, and so is one whose plan
    fails: the result is always the untouched query's.

    Args:
        dsn: The server, as the driver takes it.
        memory: The journal's file, made if it is not there.
        serving: The rules, or their fields.
        database: The component that knows the driver.
        autocommit: As the driver has it.
        prepare_threshold: As the driver has it.
        row_factory: As the driver has it.
        cursor_factory: As the driver has it.

    Raises:
        MissingExtraError: The driver is not installed.
        MemoryFileError: The journal cannot be used.
        DatabaseError: The schema cannot be read.
    """
    found: psycopg.Connection[Any] = connection_class(database).connect(
        dsn,
        memory=memory,
        serving=serving,
        autocommit=autocommit,
        prepare_threshold=prepare_threshold,
        row_factory=row_factory,
        cursor_factory=cursor_factory,
    )
    return found


async def connect_async(
    dsn: str = "",
    *,
    memory: str | Path,
    serving: ServingConfig | Mapping[str, Any] | None = None,
    database: str = "postgres",
    autocommit: bool = False,
    prepare_threshold: int | None = 5,
    row_factory: Any = None,
    cursor_factory: Any = None,
) -> psycopg.AsyncConnection[Any]:
    """Connect for asyncio; the arguments and errors are those of `connect`."""
    found: psycopg.AsyncConnection[Any] = await connection_class(database, asynchronous=True).connect(
        dsn,
        memory=memory,
        serving=serving,
        autocommit=autocommit,
        prepare_threshold=prepare_threshold,
        row_factory=row_factory,
        cursor_factory=cursor_factory,
    )
    return found


def connection_class(database: str = "postgres", *, asynchronous: bool = False) -> type[Any]:
    """Return the connection class of a database's driver, for pools: its `connect` takes `memory` and `serving` too.

    Args:
        database: The component that knows the driver.
        asynchronous: Whether its methods are coroutines.

    Raises:
        MissingExtraError: The driver is not installed.
        CapabilityError: The database serves nothing.
    """
    component = registry().find(database, "database")
    component.check_extra()
    found: type[Any] = component.record.load_factory().connection_class(asynchronous=asynchronous)
    return found


def __getattr__(name: str) -> Any:
    """Return PostgreSQL's connection classes under the names that the driver gives them."""
    if name not in ("Connection", "AsyncConnection"):
        raise AttributeError(f"module 'trellis.connecting' has no attribute '{name}'")
    return connection_class(asynchronous=name == "AsyncConnection")
