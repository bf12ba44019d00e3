"""What can be set of the stores."""

from typing import Annotated

from pydantic import Field

from trellis.component import Config

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,500}[a-zA-Z0-9]$")]


class ChromaConfig(Config):
    """Where the records are."""

    path: Annotated[str, Field(min_length=1)] = "chroma"
    """The directory, made if it is not there; `~` is the home directory. One process at a time has it."""

    collection: Name = "trellis-memory"
    """The collection; one store has it for itself."""


class ChromaServerConfig(Config):
    """Where the server is."""

    host: Annotated[str, Field(min_length=1)] = "localhost"
    """Its name or address."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Its port."""

    ssl: bool = False
    """Whether it is spoken to by HTTPS."""

    collection: Name = "trellis-memory"
    """The collection; one store has it for itself."""
