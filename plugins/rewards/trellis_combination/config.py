"""Configuration of rewards made of others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trellis import Config


class WeightedSumConfig(Config):
    """How much each reward counts."""

    weights: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(min_length=1)
    """Required: a weight for each reward among the needs, by the name it has there, e.g. `{orm: 1, log-pi: 0.5}`."""
