"""Shared torch helpers. Importing this package imports torch: plugins do so lazily."""

from trellis.nn.batch import TokenBatch, pad
from trellis.nn.budget import TokenBudget, in_parts, within
from trellis.nn.chat import Chat
from trellis.nn.encoding import Encoding
from trellis.nn.masks import all_tokens, only, some_tokens
from trellis.nn.optim import (
    Schedule,
    guarded_step,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
    seeded,
)
from trellis.nn.pieces import PieceDecoder, Pieces
from trellis.nn.sharding import same_everywhere, sharded
from trellis.nn.sharing import fork, load_own_tensors, own_tensors, trainable
from trellis.nn.splitting import full_state, is_split, load_full_state, split_weights
from trellis.nn.statistics import masked_mean, module_log_probs, token_entropies, token_log_probs
from trellis.nn.step_net import StepNet, at_steps, sum_over_steps
from trellis.nn.step_words import StepWords

__all__ = [
    "Chat",
    "Encoding",
    "PieceDecoder",
    "Pieces",
    "Schedule",
    "StepNet",
    "StepWords",
    "TokenBatch",
    "TokenBudget",
    "all_tokens",
    "at_steps",
    "fork",
    "full_state",
    "guarded_step",
    "in_parts",
    "is_split",
    "learning_rate",
    "load_full_state",
    "load_optimizer_tensors",
    "load_own_tensors",
    "masked_mean",
    "module_log_probs",
    "only",
    "optimizer_tensors",
    "own_tensors",
    "pad",
    "same_everywhere",
    "seeded",
    "sharded",
    "some_tokens",
    "split_weights",
    "sum_over_steps",
    "token_entropies",
    "token_log_probs",
    "trainable",
    "within",
]
