"""Configurations of the framework's stages and executors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis.component import Config, EarlierStage
from trellis.exploring.config import ExploreConfig


class WatchConfig(Config):
    """When a training run is told to go wrong. What is compared are means over the last `window` steps."""

    window: int = Field(default=10, ge=2)
    """Steps that are averaged; the first so many are what later ones are compared with, by their median."""
    entropy_fall: float = Field(default=0.1, gt=0, lt=1)
    """Entropy has collapsed below this share of what it was at first."""
    entropy_rise: float = Field(default=3.0, gt=1)
    """Entropy has blown up above so many times what it was at first."""
    saturation: float = Field(default=0.98, gt=0.5, lt=1)
    """The discriminator is saturated where it tells more than this share of both experts and policy."""
    length_drift: float = Field(default=1.5, gt=1)
    """Tokens per rollout have drifted where they are so many times more, or fewer, than at first."""
    steps_drift: float = Field(default=1.5, gt=1)
    """The same of steps per rollout."""
    success_fall: float = Field(default=0.5, gt=0, lt=1)
    """Success has collapsed below this share of the best that any `window` steps had."""
    least_success: float = Field(default=0.05, ge=0, le=1)
    """A best accuracy under this is not compared with: it is chance."""
    cut_share: float = Field(default=0.5, gt=0, le=1)
    """Too many rollouts run out of tokens where more than this share does."""


class TrainConfig(Config):
    """Runs a policy optimizer to its end."""

    seed: int | None = None
    """What the optimizer draws its batches and samples with; the pipeline's seed when left out."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between checkpoints."""
    watch: Literal["off", "warn", "stop"] = "warn"
    """What happens when training goes wrong in a way that can be told from its metrics: nothing, a warning, or a
    checkpoint and the end of the run, which can be resumed with other settings."""
    thresholds: WatchConfig = WatchConfig()
    """When that is."""


class SampleConfig(Config):
    """Samples rollouts of the policy as it is and stores them for later stages."""

    split: Literal["train", "validation", "test"] = "train"
    """Of which problems. What is sampled here is what `fit-reward` fits on: leave the test split alone."""
    problems: int | None = Field(default=None, ge=1)
    """How many, from the first; all of the split when left out."""
    n: int = Field(default=8, ge=1)
    """Rollouts per problem."""
    per_step: int = Field(default=32, ge=1)
    """Problems per step; after each step the stage can be stopped and resumed. Rollouts do not depend on it."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=256, ge=1)
    """At most so many tokens per rollout."""
    problems_per_item: int = Field(default=8, ge=1)
    """With an executor: problems that a worker is given at a time. Take `per_step` large enough for all of its workers."""
    seed: int | None = None
    """What is sampled with; the pipeline's seed when left out."""


class AssessConfig(Config):
    """Measures the policy and rewards on rollouts, without any search."""

    split: Literal["train", "validation", "test"] = "test"
    """Which problems."""
    problems: int | None = Field(default=None, ge=1)
    """How many, from the first; all of the split when left out."""
    n: int = Field(default=16, ge=2)
    """Rollouts per problem."""
    per_step: int = Field(default=64, ge=1)
    """Problems sampled per step; the results do not depend on it."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=256, ge=1)
    """At most so many tokens per rollout."""
    problems_per_item: int = Field(default=8, ge=1)
    """With an executor: problems that a worker is given at a time. Take `per_step` large enough for all of its workers."""
    seed: int | None = None
    """What is sampled with; the pipeline's seed when left out."""


class FitRewardConfig(Config):
    """Fits a learned reward anew on stored rollouts."""

    rollouts: tuple[EarlierStage, ...] = ()
    """The stages whose rollouts are used; all earlier ones when empty."""
    experience: bool = False
    """Whether it is fitted on what the task remembers of earlier attempts (of a workload: every plan in its journal) instead
    of stored rollouts; with `rollouts`, on both."""
    steps: int = Field(default=600, ge=1)
    """Updates per fit."""
    batch_size: int = Field(default=256, ge=2)
    """Rollouts per update."""
    batch_by: Literal["rollout", "problem", "outcome"] = "rollout"
    """How a batch is drawn: single rollouts; whole problems with all their rollouts, as many as `batch_size` holds and at
    least one, so that rollouts of one problem can be compared within a batch; or by outcome, half of them correct, where
    few rollouts are and the reward learns from those."""
    fits: int = Field(default=2, ge=1)
    """Independent fits; the best on problems held out is kept."""
    keep: Literal["auc", "loss"] = "auc"
    """Which fit is best: the one that best tells correct rollouts from others of the same problem, which takes the
    verifier's outcomes; or the one whose own loss is lowest, which knows no more than the reward does."""
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
    problems_per_item: int = Field(default=16, ge=1)
    """With an executor: problems that a worker is given at a time; results do not depend on it."""
    trees: bool = True
    """Whether search trees are written."""
    seed: int | None = None
    """What is sampled with; the pipeline's seed when left out."""


class EvolveConfig(Config):
    """Explores a workload, again and again."""

    split: Literal["train", "validation", "test"] = "train"
    """Which queries."""
    queries: int | None = Field(default=None, ge=1)
    """How many, from the first; all of the split when left out."""
    iterations: int = Field(default=3, ge=1)
    """How often each query is visited."""
    patience: int = Field(default=2, ge=1)
    """The stage ends after so many iterations in which no decision changed."""
    journal: str | None = None
    """The file where everything is kept and served from; left out, in the run directory. An existing one is gone on with."""
    explore: ExploreConfig = ExploreConfig()
    """Bounds and protocol of a visit."""
