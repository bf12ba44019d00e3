"""The protocol of a measurement, as it is configured."""

from __future__ import annotations

from pydantic import Field, model_validator

from trellis.component import Config


class MeasureConfig(Config):
    """How long and how often."""

    timeout_ms: float = Field(default=60_000.0, gt=0)
    """What the default may take."""
    factor: float = Field(default=1.5, gt=1)
    """A variant may take this many times the best median of the others so far, the default's included."""
    floor_ms: float = Field(default=20.0, gt=0)
    """No time-out is shorter than this: a server does not keep shorter ones exactly."""
    pairs: int = Field(default=5, ge=1)
    """Rounds at most."""
    min_pairs: int = Field(default=3, ge=1)
    """Rounds before an interval may decide."""
    margin: float = Field(default=0.1, ge=0)
    """A variant is faster when the default takes at least 1 + margin times its median, and the interval lies above 1."""
    skip_same_plan: bool = True
    """Whether a variant whose plan is the default's is not executed at all."""
    analyze: bool = False
    """Whether each plan is also run once under EXPLAIN (ANALYZE, BUFFERS), after the timing."""
    patience_s: float = Field(default=60.0, ge=0)
    """How long a server that went away is waited for."""
    seed: int | None = None
    """Draws the order within rounds and the bootstrap."""

    @model_validator(mode="after")
    def _at_least_min_pairs(self) -> MeasureConfig:
        if self.min_pairs > self.pairs:
            raise ValueError(f"min_pairs is {self.min_pairs}: it must be at most pairs, {self.pairs}")
        return self
