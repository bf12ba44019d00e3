"""Masked statistics, log-probabilities and entropies. Shape suffixes: B rows, T tokens, V vocabulary."""

from __future__ import annotations

from inspect import signature

import torch
from torch.utils.checkpoint import checkpoint

from trellis.nn.batch import TokenBatch

_LARGE = 1 << 27
"""Logits; half a gibibyte of float32."""


def token_log_probs(logits_BTV: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    """Return log p(token t | tokens before t) for every position, in float32.

    Args:
        logits_BTV: The model's logits; those at t predict the token at t + 1.
        ids_BT: The tokens.

    Returns:
        float32 of shape (B, T); 0 at the first position, which nothing predicts.
    """
    if logits_BTV.numel() <= _LARGE:
        log_prob_BT = _log_probs(logits_BTV[:, :-1], ids_BT[:, 1:])
    else:
        # A row at a time, and once more for the gradient: in float32 the logits of a large vocabulary take several times
        # the memory of the model's own.
        rows = [
            checkpoint(_log_probs, logits_BTV[row : row + 1, :-1], ids_BT[row : row + 1, 1:], use_reentrant=False)
            for row in range(len(ids_BT))
        ]
        log_prob_BT = torch.cat(rows)
    return torch.nn.functional.pad(log_prob_BT, (1, 0))


def _log_probs(logits_BTV: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    return -torch.nn.functional.cross_entropy(logits_BTV.float().transpose(1, 2), ids_BT, reduction="none")


def module_log_probs(module: torch.nn.Module, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
    """Return log p(token t | tokens before t) under a causal language model, float32 of shape (B, T).

    At the tokens of steps, under the mask of a constrained batch (`TokenBatch.constrained`); of no meaning elsewhere. Models of
    transformers make no logits for what only prompts hold.

    Args:
        module: Like `TrainablePolicy.module`.
        batch: Prompts and steps.
        temperature: Logits are divided by it.
    """
    width = batch.ids_BT.shape[1]
    # The logits that predict a row's first step stand at the last token of its prompt.
    first = max(0, int(batch.mask_BT.any(0).int().argmax()) - 1)
    if "logits_to_keep" not in signature(module.forward).parameters:
        first = 0
    options = {"logits_to_keep": width - first} if first else {}
    logits_BTV = module(input_ids=batch.ids_BT, attention_mask=batch.attention_BT, **options).logits
    logits_BTV = batch.constrained(logits_BTV if temperature == 1.0 else logits_BTV / temperature)
    return torch.nn.functional.pad(token_log_probs(logits_BTV, batch.ids_BT[:, first:]), (first, 0))


def token_entropies(logits_BTV: torch.Tensor) -> torch.Tensor:
    """Return the entropy -Σ_v p(v) log p(v) in nats of what token t was drawn from, for every position, in float32.

    Args:
        logits_BTV: The model's logits, finite; those at t predict the token at t + 1.

    Returns:
        float32 of shape (B, T); 0 at the first position, which nothing predicts.
    """
    log_p_BTV = logits_BTV[:, :-1].float().log_softmax(-1)
    return torch.nn.functional.pad(-(log_p_BTV.exp() * log_p_BTV).sum(-1), (1, 0))


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of `values` where `mask` is True; 0 when it is True nowhere."""
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)
