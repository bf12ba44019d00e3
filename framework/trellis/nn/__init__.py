"""Shared torch helpers. Importing this package imports torch: plugins do so lazily."""

from trellis.nn.batch import Allowed, TokenBatch, pad
from trellis.nn.optim import (
    Schedule,
    guarded_step,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
    seeded,
)
from trellis.nn.statistics import masked_mean, token_entropies, token_log_probs
from trellis.nn.step_net import StepNet, at_steps, sum_over_steps

__all__ = [
    "Allowed",
    "Schedule",
    "StepNet",
    "TokenBatch",
    "at_steps",
    "guarded_step",
    "learning_rate",
    "load_optimizer_tensors",
    "masked_mean",
    "optimizer_tensors",
    "pad",
    "seeded",
    "sum_over_steps",
    "token_entropies",
    "token_log_probs",
]
