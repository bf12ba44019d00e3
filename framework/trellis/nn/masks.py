"""Sets of tokens as packed bits: which tokens could have been drawn.

A set of V tokens is W = ⌈V / 32⌉ numbers of int32; token v is in it if bit v mod 32 of number ⌊v / 32⌋ is set.

Shape suffixes: B rows, T tokens, V vocabulary, W words of 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch


def all_tokens(*shape: int, vocab_size: int) -> torch.Tensor:
    """Return sets that hold every token: int32 of shape (*shape, W)."""
    return torch.full((*shape, -(-vocab_size // 32)), -1, dtype=torch.int32)


def some_tokens(tokens: Iterable[int], *, vocab_size: int) -> torch.Tensor:
    """Return the set of some tokens: int32 of shape (W,)."""
    words = np.zeros(-(-vocab_size // 32), dtype=np.uint32)
    for token in tokens:
        words[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
    return torch.from_numpy(words.view(np.int32))


def only(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Return logits in which tokens outside of their set are impossible.

    Args:
        logits: Any float dtype, of shape (..., V).
        allowed: int32, of shape (..., W): a set for each row of logits.

    Returns:
        The logits; those left out are the lowest finite number of their dtype, so that their probability is 0 and their share of
        an entropy is too.
    """
    # Bytes, not words: what is expanded to one element a token is then a quarter as large.
    bytes_ = allowed.contiguous().view(torch.uint8)
    bit = torch.arange(8, dtype=torch.uint8, device=allowed.device)
    inside = ((bytes_[..., None] >> bit) & 1).flatten(-2)[..., : logits.shape[-1]].bool()
    return logits.masked_fill(~inside, torch.finfo(logits.dtype).min)
