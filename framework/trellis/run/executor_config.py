"""What can be set of the executors that come with Trellis."""

from typing import Annotated

from pydantic import Field

from trellis.component import Config


class LocalConfig(Config):
    """One item after another in this process."""


class ProcessesConfig(Config):
    """Several items at a time, each in a worker process."""

    workers: Annotated[int, Field(ge=1)] | None = None
    """Worker processes at work at a time; left out, one for each CPU."""
