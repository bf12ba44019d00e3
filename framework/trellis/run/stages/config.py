"""Configurations of the framework's stages and executors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis.component import Config, EarlierStage


class TrainConfig(Config):
    """Runs a policy optimizer to its end."""

    seed: int | None = None
    """What the optimizer draws its batches and samples with; the pipeline's seed when left out."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between checkpoints."""


class FitRewardConfig(Config):
    """Fits a learned reward anew on stored rollouts."""

    rollouts: tuple[EarlierStage, ...] = ()
    """The stages whose rollouts are used; all earlier ones when empty."""
    steps: int = Field(default=600, ge=1)
    """Updates per fit."""
    batch_size: int = Field(default=256, ge=2)
    """Rollouts per update."""
    fits: int = Field(default=2, ge=1)
    """Independent fits; the one that best tells correct held-out rollouts from others is kept."""
    holdout: float = Field(default=0.1, gt=0, lt=1)
    """Share of the problems held out to choose between fits."""
    seed: int | None = None
    """What batches are drawn with; the pipeline's seed when left out."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""


class BudgetConfig(Config):
    """What one search may spend on one problem."""

    tokens: int | None = Field(default=None, ge=1)
    """Tokens sampled."""
    calls: int | None = Field(default=None, ge=1)
    """Requests answered."""
    seconds: float | None = Field(default=None, gt=0)
    """Wall-clock seconds."""


class EvaluateConfig(Config):
    """Measures searches and rewards on a split's problems."""

    split: Literal["train", "validation", "test"] = "test"
    """Which problems."""
    problems: int | None = Field(default=None, ge=1)
    """How many, from the first; all of the split when left out."""
    weights: tuple[EarlierStage, ...] = ()
    """Stages after which the policy is measured; as it is now when empty."""
    budget: BudgetConfig = BudgetConfig()
    """What every search may spend on one problem."""
    max_tokens: int = Field(default=256, ge=1)
    """At most so many tokens per completion."""
    max_steps: int = Field(default=64, ge=1)
    """A trajectory of so many steps that is not finished is cut."""
    batch_problems: int = Field(default=256, ge=1)
    """How many problems are searched at once; results do not depend on it."""
    trees: bool = True
    """Whether search trees are written."""
    seed: int | None = None
    """What is sampled with; the pipeline's seed when left out."""
