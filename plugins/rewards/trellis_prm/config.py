"""Configuration of process rewards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis.fitting.config import LearningConfig


class MonteCarloConfig(LearningConfig):
    """How prefixes are labelled, and what that may cost."""

    completions: int = Field(default=8, ge=1)
    """Completions sampled from each prefix that is labelled."""
    prefixes_per_rollout: int | None = Field(default=None, ge=1)
    """How many prefixes of a rollout are labelled by sampling; all of them when left out. The whole rollout is labelled
    with its own outcome, which costs nothing, and does not count."""
    labels: Literal["soft", "hard"] = "soft"
    """"soft": the share of the completions that are correct; "hard": 1 if any is, else 0."""
    budget_rollouts: int | None = Field(default=None, ge=1)
    """At most so many completions are sampled from one reset to the next, for comparisons at equal rollouts. Once it is
    spent, rollouts that would need more are left out of the batches."""
    max_tokens: int = Field(default=256, ge=1)
    """At most so many new tokens in a completion; the same as in the stage that samples the rollouts."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the completions; the same as in the stage that samples the rollouts."""


class ImplicitConfig(LearningConfig):
    """The scale of the log-ratio."""

    beta: float = Field(default=0.05, gt=0)
    """β: what a nat of log-ratio is worth as a logit. The smaller, the further the copy must move from its reference
    before it is sure. 0.05 is PRIME's, for a pretrained model; a tiny one made from scratch may want 0.5 to 2."""
