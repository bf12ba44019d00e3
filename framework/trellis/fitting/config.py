"""What can be set of the fitting of any learned reward: the same fields, so that rewards are compared at equal budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from trellis.component import Config, Need

NEEDS: Mapping[str, Need] = {
    "policy": Need("policy", capabilities=frozenset({"trainable"})),
    "trunk": Need("policy", optional=True, capabilities=frozenset({"trainable"})),
}
"""What every learned reward needs: the policy that it learns beside, and where its trunk is to be another model than the
policy's (e.g. a smaller one), the policy made of that."""


Reads = Literal["tokens", "words"]
"""What a reward's network reads of steps: their tokens, by the policy's trunk; or the words that the task has for them
(`Task.step_words`), by a weight each (`trellis.nn.StepWords`)."""


class LearningConfig(Config):
    """How a reward's network is trained."""

    updates_per_round: int = Field(default=1, ge=1)
    """Gradient steps per `update`."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """AdamW's learning rate; about 1e-5 for a pretrained model."""
    final_fraction: float = Field(default=0.05, gt=0, le=1)
    """The last learning rate as a share of the first, where the number of updates is known (`run: fit-reward`); updates in
    later stages stay at it."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this 2-norm."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running average of the weights that scores are given with; 0 takes the newest weights."""
