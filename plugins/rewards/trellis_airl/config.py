"""Configuration of the AIRL reward."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis import Config


class AIRLConfig(Config):
    """The discriminator's form, its training, and what RL and search get of it."""

    form: Literal["policy-skip", "scalar-head", "shaped"] = "policy-skip"
    """"policy-skip": the net gives the logit l, and f = l + log π. "scalar-head": the net gives f, the logit is
    f - log π. "shaped": f = g + γ h(s') - h(s) with h(terminal) = 0, the logit is f - log π."""
    experts: Literal["traces", "rollouts"] = "traces"
    """Whose steps are the experts': the task's traces, or the policy's own rollouts that the verifier found correct."""
    search_score: Literal["f", "l"] = "f"
    """What search is steered by: f = l + log π, or the logit l alone."""
    log_pi_weight: float = Field(default=1.0, ge=0)
    """Policy-skip only: the weight of log π in f, in search alone (the discriminator itself knows 1)."""
    log_pi_span: Literal["prefix", "step"] = "prefix"
    """Policy-skip only: whether search adds log π of all steps so far or of the newest. A discriminator that sees whole
    prefixes makes l of the *last* step plus log π of the *prefix* the log-density of the expert's trace; so aggregate
    with "last"."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """γ of the shaped form."""
    reward_clip: float = Field(default=3.0, gt=0)
    """What RL is paid is clipped to ± this."""
    updates_per_round: int = Field(default=1, ge=1)
    """Gradient steps per `update`."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """AdamW's learning rate; about 1e-5 for a pretrained model."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """The last learning rate as a share of the first, where the number of updates is known (`run: fit-reward`)."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Expert labels are 1 - this, the policy's are this."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this 2-norm."""
