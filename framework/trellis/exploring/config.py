"""How a workload is explored."""

from __future__ import annotations

from pydantic import Field

from trellis.component import Config
from trellis.measuring.config import MeasureConfig
from trellis.memory.serving import ServingConfig


class ExploreConfig(Config):
    """How many hints are tried on a query, for how long, and what it takes to be served."""

    proposals: int = Field(default=32, ge=1)
    """Hints that are asked of the proposer for a query, each time it is visited; none of them has run yet."""
    tried: int = Field(default=4, ge=1)
    """How many of them run, those that are ranked first; hints whose plan has run before are not among them."""
    verified: int = Field(default=1, ge=1)
    """How many of those that ran faster than the default are then measured against it in pairs."""
    ladder: tuple[float, ...] = (1 / 64, 1 / 16, 1 / 4)
    """Time-outs of the first tries, as shares of the default's time: what is very fast is found for little."""
    factor: float = Field(default=1.2, gt=1)
    """The last try may take this many times the best time so far, the default's included."""
    floor_ms: float = Field(default=5.0, gt=0)
    """No try is stopped earlier."""
    default_timeout_ms: float = Field(default=60_000.0, gt=0)
    """What the default may take; a query that takes longer is left alone."""
    seconds: float | None = Field(default=None, gt=0)
    """Seconds of executions in all; exploring stops before the query that would be next."""
    executions: int | None = Field(default=None, ge=1)
    """Executions in all, likewise."""
    share: float | None = Field(default=None, gt=2)
    """Seconds of executions in all, as a multiple of the seconds that the workload takes once by default, likewise; above 2,
    because every default is run twice before anything else is tried."""
    measure: MeasureConfig = MeasureConfig(floor_ms=5.0)
    """The protocol of verification."""
    serving: ServingConfig = ServingConfig()
    """What is worth serving."""
    seed: int | None = None
    """What proposers and measurements draw with."""
