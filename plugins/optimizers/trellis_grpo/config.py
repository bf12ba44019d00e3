"""Configuration of GRPO."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trellis import Config


class GRPOConfig(Config):
    """Group relative policy optimization."""

    steps: int = Field(default=60, ge=1)
    """Iterations: sample, judge, update."""
    problems_per_step: int = Field(default=32, ge=1)
    """Problems per iteration."""
    group_size: int = Field(default=8, ge=2)
    """Rollouts per problem (G)."""
    epochs: int = Field(default=1, ge=1)
    """Gradient steps on each batch of rollouts."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; ratios are taken at the same temperature."""
    max_tokens: int = Field(default=128, ge=1)
    """At most so many tokens per rollout."""
    outcome_weight: float = Field(default=1.0, ge=0)
    """Weight of the outcome advantage. A process reward alone is hacked: keep this above 0."""
    process_weight: float = Field(default=0.0, ge=0)
    """Weight of the process advantage, from the stage's `reward`."""
    process_credit: Literal["mean", "sum"] = "mean"
    """What a token is credited with: the mean over the tokens still to come of their step's reward, or the sum of the
    rewards of the steps still to come."""
    process_scale: Literal["none", "std"] = "none"
    """Whether process advantages are divided by their standard deviation over the batch after centring."""
    process_from: int = Field(default=10, ge=0)
    """The process advantage counts from this step on; a learned reward is updated from the first."""
    clip: float = Field(default=0.2, gt=0)
    """Probability ratios are clipped to [1 - clip, 1 + clip]."""
    kl_weight: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence to the policy as it was at the stage's start."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """AdamW's first learning rate; about 1e-6 for a pretrained model."""
    final_learning_rate: float = Field(default=1e-4, ge=0)
    """AdamW's last learning rate, reached linearly."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this 2-norm."""

    @model_validator(mode="after")
    def _some_reward(self) -> Self:
        if self.outcome_weight == 0 and self.process_weight == 0:
            raise ValueError("'outcome_weight' and 'process_weight' are both 0: nothing would be learned")
        return self
