"""Configuration of rewards that judge plans by their time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis import Config
from trellis.fitting.config import LearningConfig, Reads


class LatencyPredictorConfig(LearningConfig):
    """What the prediction is fitted to."""

    reads: Reads = "tokens"
    """Whether the network is the policy's trunk, which reads tokens, or linear in the words that the `task` has for each step."""
    steps: Literal["all", "last"] = "all"
    """Whether every prefix learns the mean gain of the plans that began with it, or the whole plan alone."""
    center: bool = False
    """Whether gains are fitted less their mean over a problem's rollouts in the batch: what is left is which plan of a query is
    faster, not which query has much to gain. Draw batches by problem."""
    delta: float = Field(default=1.0, gt=0)
    """Errors above it, in natural logarithms of time, count linearly (Huber)."""


class PlannerCostConfig(Config):
    """The planner's cost has nothing to set."""
