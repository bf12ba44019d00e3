"""What can be set of the stores."""

from typing import Annotated

from pydantic import Field

from trellis.component import Config


class PgVectorConfig(Config):
    """Which server and table."""

    dsn: str | None = None
    """The server, e.g. "postgresql://user@db.example/memory". Left out, the administrator of the need `database`."""

    table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$", max_length=100)] = "trellis_memory"
    """The table, made if it is not there; with its schema as "schema.table". One store has it for itself."""


class HNSWConfig(PgVectorConfig):
    """Which server and table, and how dense its index is."""

    m: Annotated[int, Field(ge=2, le=100)] = 16
    """Neighbours that each record is linked with; more find better and take more room."""

    ef_construction: Annotated[int, Field(ge=4, le=1000)] = 64
    """Candidates that adding looks at, at least twice `m`; more build slower and find better."""

    ef_search: Annotated[int, Field(ge=1, le=1000)] = 100
    """Candidates that a query looks at; more miss less and take longer."""
