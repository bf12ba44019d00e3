"""What can be set of a PostgreSQL backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from trellis import Config

DialectName: TypeAlias = Literal["auto", "rewrite", "pg_hint_plan", "pg_plan_advice"]
Milliseconds: TypeAlias = Annotated[float, Field(gt=0)]

MANAGED = frozenset(
    [
        "statement_timeout",
        "lock_timeout",
        "transaction_read_only",
        "default_transaction_read_only",
        "role",
        "session_authorization",
        "search_path",
        "standard_conforming_strings",
        "client_encoding",
        "extra_float_digits",
    ]
)
"""Settings that the backend sets itself."""


class PostgresConfig(Config):
    """Which server, as whom, with which settings, and how hints are given."""

    dsn: str | None = None
    """The server, e.g. "postgresql://trellis_reader@db.example/shop". Left out, a PostgreSQL is started in `directory`."""

    directory: str | None = None
    """The data directory of the embedded server, made if it is not there. Left out too, a temporary one, removed at the end."""

    database: str | None = None
    """The embedded server's database, made if it is not there; left out, "postgres". With a DSN, the DSN names it."""

    dialect: DialectName = "auto"
    """How hints are given: by rewriting the query, in a comment of pg_hint_plan, as PostgreSQL 19's plan advice, or by the
    best of these that the server can do."""

    settings: Mapping[str, str] = Field(default_factory=lambda: {"jit": "off", "max_parallel_workers_per_gather": "0"})
    """Planner and memory settings for every statement, e.g. `{work_mem: 64MB}`. Without parallel workers and compilation
    times vary less."""

    search_path: str | None = None
    """Schemas in which names without one are looked for, e.g. "shop, public"; left out, as the server has it."""

    role: str | None = None
    """The role that statements run as, where it is not the one that connects. `setup_role` makes one that may only read.
    The embedded server has one and takes no other."""

    allow_privileged: bool = False
    """Whether statements may run as a superuser or a role that reads the server's files."""

    allow_functions: tuple[str, ...] = ()
    """Volatile or dangerous functions that queries may call all the same, as "name" or "schema.name"."""

    lock_timeout_ms: Milliseconds = 1000.0
    """How long a statement waits for a lock, e.g. while a table is altered."""

    explain_timeout_ms: Milliseconds = 30_000.0
    """How long planning alone may take."""

    connect_timeout_ms: Milliseconds = 30_000.0
    """How long a lost server is waited for."""

    start_timeout_ms: Milliseconds = 60_000.0
    """How long the embedded server may take to start, on a busy machine or after a crash."""

    extra_float_digits: Annotated[int, Field(ge=-15, le=3)] = 1
    """How exactly a result's digest reads floating-point numbers: 1 to the last bit; 0 and less to 15 digits and fewer, for
    sums of them that come out otherwise under another plan."""

    max_query_chars: Annotated[int, Field(gt=0)] = 200_000
    """Longer queries are refused."""

    application_name: str = "trellis"
    """What the server's list of activities shows."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dsn is not None and (self.directory is not None or self.database is not None):
            raise ValueError("`dsn` names a server; leave `directory` and `database` out, they are the embedded one's")
        if self.dsn is None and self.role is not None:
            raise ValueError("the embedded server has its own role that may only read; leave `role` out")
        managed = sorted(name for name in self.settings if name.lower() in MANAGED)
        if managed:
            raise ValueError(f"`settings` may not hold {', '.join(managed)}: the backend sets that itself")
        return self
