"""Configuration of supervised fine-tuning, on given traces and on the policy's own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis import Config


class FineTuningConfig(Config):
    """What every fine-tuning by likelihood is told."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """AdamW's peak learning rate; about 1e-5 for a pretrained model."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """The last learning rate as a share of the peak."""
    warmup: int = Field(default=10, ge=0)
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's betas."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this 2-norm."""


class SFTConfig(FineTuningConfig):
    """How long and how fast."""

    steps: int = Field(default=400, ge=1)
    """Gradient steps."""
    batch_size: int = Field(default=128, ge=1)
    """Traces per step, drawn without replacement within an epoch."""


class RFTConfig(FineTuningConfig):
    """How often is sampled, how much, and what of it is trained on.

    Each round is a fine-tuning of its own: a new AdamW, and the schedule from its beginning.
    """

    rounds: int = Field(default=3, ge=1)
    """How often the policy is sampled and then trained on what was correct."""
    problems_per_round: int | None = Field(default=None, ge=1)
    """Problems sampled in a round, drawn without replacement; None takes all."""
    samples_per_problem: int = Field(default=8, ge=1)
    """Rollouts of each problem."""
    keep_per_problem: int = Field(default=4, ge=1)
    """At most so many correct rollouts of a problem are trained on, no two of the same text."""
    steps_per_round: int = Field(default=100, ge=1)
    """Gradient steps in a round."""
    batch_size: int = Field(default=64, ge=1)
    """Trajectories per step, drawn without replacement within an epoch."""
    include_traces: bool = False
    """Whether the task's traces are trained on too, as the RFT paper does and ReST-EM does not."""
    from_start: bool = True
    """Whether each round trains the weights of the stage's start, as ReST-EM does, or goes on with its own."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=128, ge=1)
    """At most so many tokens per rollout."""
