"""Shared torch helpers. Importing this package imports torch: plugins do so lazily."""

from trellis.nn.batch import TokenBatch, pad
from trellis.nn.budget import TokenBudget, in_parts, within
from trellis.nn.chat import Chat
from trellis.nn.encoding import Encoding
from trellis.nn.optim import (
    Schedule,
    guarded_step,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
    seeded,
)
from trellis.nn.pieces import PieceDecoder, Pieces
from trellis.nn.sharing import fork, load_own_tensors, own_tensors, trainable
from trellis.nn.statistics import masked_mean, module_log_probs, token_entropies, token_log_probs
from trellis.nn.step_net import StepNet, at_steps, sum_over_steps

__all__ = [
    "Chat",
    "Encoding",
    "PieceDecoder",
    "Pieces",
    "Schedule",
    "StepNet",
    "TokenBatch",
    "TokenBudget",
    "at_steps",
    "fork",
    "guarded_step",
    "in_parts",
    "learning_rate",
    "load_optimizer_tensors",
    "load_own_tensors",
    "masked_mean",
    "module_log_probs",
    "optimizer_tensors",
    "own_tensors",
    "pad",
    "seeded",
    "sum_over_steps",
    "token_entropies",
    "token_log_probs",
    "trainable",
    "within",
]
