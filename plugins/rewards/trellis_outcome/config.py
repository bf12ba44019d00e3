"""Configuration of outcome rewards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis import Config
from trellis.fitting.config import LearningConfig


class VerifierConfig(Config):
    """The verifier has nothing to set."""


class OracleConfig(Config):
    """The oracle has nothing to set."""


class RandomConfig(Config):
    """Which random numbers."""

    seed: int | None = Field(default=None, ge=0)
    """Another seed gives other numbers; the pipeline's when left out."""


class ORMConfig(LearningConfig):
    """An outcome reward model has nothing to set beside its training."""


class OutcomeValueConfig(LearningConfig):
    """What the value of a prefix is fitted by."""

    loss: Literal["bce", "mse"] = "bce"
    """"bce": cross-entropy on the logit; "mse": squared error of the probability. Both are least at P(correct)."""
