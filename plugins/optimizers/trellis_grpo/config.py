"""Configuration of GRPO."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trellis import Config


class GRPOConfig(Config):
    """Group relative policy optimization.

    What is published under a name of its own is these fields with these values; the rest as it is by default:

    - GRPO (https://arxiv.org/abs/2402.03300): `{loss_average: sequences, kl_weight: 0.04}`
    - DAPO (https://arxiv.org/abs/2503.14476): `{clip_high: 0.28, resample_rounds: 4, loss_average: tokens, epochs: 2}`
    - Dr. GRPO (https://arxiv.org/abs/2503.20783): `{outcome_scale: none, loss_average: constant}`
    - GSPO (https://arxiv.org/abs/2507.18071):
      `{ratio: sequence, loss_average: sequences, clip: 3e-4, clip_high: 4e-4, epochs: 2}`
    - RLOO (https://arxiv.org/abs/2402.14740): `{outcome_baseline: leave-one-out, outcome_scale: none}`
    - PURE (https://arxiv.org/abs/2504.15275): `{process_weight: 1.0, process_credit: min, process_temperature: 0.1}`
    """

    steps: int = Field(default=60, ge=1)
    """Iterations: sample, judge, update."""
    problems_per_step: int = Field(default=32, ge=1)
    """Problems per iteration."""
    group_size: int = Field(default=8, ge=2)
    """Rollouts per problem (G)."""
    epochs: int = Field(default=1, ge=1)
    """Gradient steps on each batch of rollouts. In the first all probability ratios are 1: with a single one, `clip`,
    `clip_high` and `ratio` change nothing."""
    resample_rounds: int = Field(default=0, ge=0)
    """Up to so many times in a step, groups whose outcomes are all the same are replaced by groups of problems not yet
    tried in this step (DAPO's dynamic sampling). The process advantage of what is replaced is lost with it."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; ratios are taken at the same temperature."""
    max_tokens: int = Field(default=128, ge=1)
    """At most so many tokens per rollout."""
    outcome_weight: float = Field(default=1.0, ge=0)
    """Weight of the outcome advantage. A process reward alone is hacked: keep this above 0."""
    outcome_baseline: Literal["mean", "leave-one-out"] = "mean"
    """What an outcome is compared with: the mean of its group, or that of the others in its group."""
    outcome_scale: Literal["std", "none"] = "std"
    """Whether outcome advantages are divided by the standard deviation of their group, which weighs problems that are
    nearly always or nearly never solved up."""
    process_weight: float = Field(default=0.0, ge=0)
    """Weight of the process advantage, from the stage's `reward`."""
    process_form: Literal["reward", "potential"] = "reward"
    """Whether a step's value is its reward, or a potential: then a step is credited with the difference to the value
    before it, and no number of steps is worth more than the last value. Takes `process_credit: sum`."""
    process_credit: Literal["mean", "sum", "min"] = "mean"
    """What a token is credited with: the mean over the tokens still to come of their step's reward, the sum of the
    rewards of the steps still to come, or that sum with the weight on the worst steps."""
    process_temperature: float = Field(default=0.1, gt=0)
    """How soft the minimum of `process_credit: min` is, in units of the reward: towards 0 the worst step alone counts."""
    process_scale: Literal["none", "std"] = "none"
    """Whether process advantages are divided by their standard deviation over the batch after centring."""
    process_from: int = Field(default=10, ge=0)
    """The process advantage counts from this step on; a learned reward is updated from the first."""
    process_until: int | None = Field(default=None, ge=1)
    """The process advantage no longer counts from this step on; a learned reward is still updated."""
    reward_updates: bool = True
    """Whether a learned reward learns from the rollouts of every step. If not, one that was fitted before is used as it
    is."""
    ratio: Literal["token", "sequence"] = "token"
    """The probability ratio of each token, or the geometric mean of those of its sequence."""
    clip: float = Field(default=0.2, gt=0)
    """Probability ratios are clipped to [1 - clip, 1 + clip]."""
    clip_high: float | None = Field(default=None, gt=0)
    """The upper bound is 1 + clip_high instead, where this is given."""
    loss_average: Literal["tokens", "sequences", "constant"] = "tokens"
    """The loss is averaged over all tokens, over the means of the sequences, or over `max_tokens` a sequence whatever
    its length."""
    importance_cap: float | None = Field(default=None, ge=1)
    """Where rollouts come from an inference engine, which computes their probabilities a little otherwise than the policy that
    learns: each token's loss is weighted by the ratio of the two, cut at this (2.0 is common). Takes `temperature: 1`. Left out:
    no weights."""
    kl_weight: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence to the policy as it was at the stage's start; where it is first set at a resume, as it
    was then."""
    entropy_weight: float = Field(default=0.0, ge=0)
    """Weight of the entropy of the policy's next-token distribution, which is raised."""
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

    @model_validator(mode="after")
    def _ratio_is_known(self) -> Self:
        if self.importance_cap is not None and self.temperature != 1:
            raise ValueError(
                f"'importance_cap' with 'temperature: {self.temperature}': rollouts carry their log-probabilities at temperature "
                "1, which say nothing of the ratio at another. Set 'temperature: 1.0', or leave 'importance_cap' out"
            )
        return self

    @model_validator(mode="after")
    def _process_fits(self) -> Self:
        if self.outcome_weight == 0 and (self.process_from > 0 or self.process_until is not None):
            raise ValueError(
                "'outcome_weight: 0': nothing is learned where the process reward does not count. Set 'process_from: 0' and "
                "leave 'process_until' out"
            )
        if self.process_weight > 0 and self.process_from >= self.steps:
            raise ValueError(
                f"'process_from' is {self.process_from} and 'steps' {self.steps}: the process reward would never count. "
                "Lower 'process_from'"
            )
        if self.process_until is not None and self.process_until <= self.process_from:
            raise ValueError(
                f"'process_until' is {self.process_until} and 'process_from' {self.process_from}: the process reward "
                "would never count. Raise the one or lower the other"
            )
        if self.process_form == "potential" and self.process_credit != "sum":
            raise ValueError(
                f"'process_form: potential' with 'process_credit: {self.process_credit}': only the sum of differences "
                "is the difference of the last value to the first. Set 'process_credit: sum'"
            )
        return self
