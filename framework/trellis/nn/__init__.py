"""Shared torch helpers. Importing this package imports torch: plugins do so lazily."""

from trellis.nn.batch import TokenBatch, pad
from trellis.nn.statistics import all_finite, masked_mean, token_log_probs

__all__ = ["TokenBatch", "all_finite", "masked_mean", "pad", "token_log_probs"]
