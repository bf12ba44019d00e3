"""pass@k: the chance that one of k samples is correct."""

from __future__ import annotations

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of the probability that at least one of `k` samples is correct.

    pass@k = 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, https://arxiv.org/abs/2107.03374, equation 1). The plug-in
    estimate 1 - (1 - c/n)^k is biased.

    Args:
        n: Samples drawn.
        c: How many of them are correct.
        k: At most `n`.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {c} correct ones among {n} samples: 0 <= c <= n and 1 <= k <= n are needed")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)
