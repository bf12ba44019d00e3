"""Configuration of likelihood rewards."""

from __future__ import annotations

from typing import Literal

from trellis import Config


class LogPiConfig(Config):
    """What a step's score sums up."""

    span: Literal["prefix", "step"] = "prefix"
    """"prefix": log π of all steps so far, so that the last score is log π of the trajectory; "step": of the step."""
