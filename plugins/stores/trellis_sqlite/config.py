"""What can be set of the store."""

from typing import Annotated

from pydantic import Field

from trellis.component import Config


class SQLiteConfig(Config):
    """Where the records are."""

    path: Annotated[str, Field(min_length=1)] = ":memory:"
    """The file, made if it is not there; `~` is the home directory. ":memory:" keeps the records in this process alone."""
