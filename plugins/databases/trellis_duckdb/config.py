"""What can be set of a DuckDB backend."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trellis import Config


class DuckDBConfig(Config):
    """Which database, and with what it works."""

    path: str | None = None
    """The database file. Left out, the database is in memory and empty: fill it through the backend's `connection`."""

    read_only: bool = True
    """Whether the file is opened read-only; queries only read in any case. A database in memory never is."""

    threads: Annotated[int, Field(ge=1)] = 1
    """Threads per query; with one, times vary less."""

    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?([KMGT]i?B)$")] | None = None
    """The most memory, e.g. "4GB" or "512MiB"; left out, DuckDB takes up to 80% of the machine's."""

    allow_functions: tuple[str, ...] = ()
    """Volatile, dangerous or table-valued functions that queries may call all the same, by name."""
