"""Masked statistics, log-probabilities and entropies. Shape suffixes: B rows, T tokens, V vocabulary."""

from __future__ import annotations

import torch

from trellis.nn.batch import TokenBatch


def token_log_probs(logits_BTV: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    """Return log p(token t | tokens before t) for every position, in float32.

    Args:
        logits_BTV: The model's logits; those at t predict the token at t + 1.
        ids_BT: The tokens.

    Returns:
        float32 of shape (B, T); 0 at the first position, which nothing predicts.
    """
    logits_BVT = logits_BTV[:, :-1].float().transpose(1, 2)
    surprise_BT = torch.nn.functional.cross_entropy(logits_BVT, ids_BT[:, 1:], reduction="none")
    return torch.nn.functional.pad(-surprise_BT, (1, 0))


def module_log_probs(module: torch.nn.Module, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
    """Return log p(token t | tokens before t) under a causal language model, float32 of shape (B, T), at every position.

    Of a constrained batch they are under its mask (`TokenBatch.constrained`).

    Args:
        module: Like `TrainablePolicy.module`.
        batch: Prompts and steps.
        temperature: Logits are divided by it.
    """
    logits_BTV = module(input_ids=batch.ids_BT, attention_mask=batch.attention_BT).logits
    logits_BTV = batch.constrained(logits_BTV if temperature == 1.0 else logits_BTV / temperature)
    return token_log_probs(logits_BTV, batch.ids_BT)


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
