"""Advantages per token: from outcomes, and from step rewards.

Shape suffixes: B rollouts (groups of G in a row), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from trellis.nn import TokenBatch


def outcome_advantages(scores: Sequence[float], group_size: int) -> torch.Tensor:
    """Return (r - mean) / std within each group; 0 for groups without variance, which say nothing.

    DeepSeekMath (https://arxiv.org/abs/2402.03300), equation 21 without its process part.

    Args:
        scores: One outcome score per rollout, groups in a row.
        group_size: G.

    Returns:
        float32 of shape (B,).
    """
    r_PG = torch.tensor(scores, dtype=torch.float32).view(-1, group_size)
    std_P1 = r_PG.std(dim=1, correction=0, keepdim=True)
    normal_PG = (r_PG - r_PG.mean(dim=1, keepdim=True)) / std_P1.clamp(min=1e-6)
    return torch.where(std_P1 > 1e-6, normal_PG, 0.0).flatten()


def process_advantages(
    rewards: Sequence[Sequence[float]],
    batch: TokenBatch,
    group_size: int,
    *,
    credit: Literal["mean", "sum"],
    scale: Literal["none", "std"],
) -> torch.Tensor:
    """Turn step rewards into centred token advantages.

    Every token carries its step's reward. With credit "mean" a token's return is the mean reward over itself and the
    tokens after it, so that cutting a step in two, or writing more steps of the same worth, changes nothing. With
    "sum" it is the sum of the rewards of its step and the steps after it. The baseline is the mean return over all
    tokens of the group: a baseline per *step* would pay for fewer steps (PURE, https://arxiv.org/abs/2504.15275).

    Args:
        rewards: One float per step, one sequence per rollout, groups in a row.
        batch: The rollouts as tokens.
        group_size: G.
        credit: How a token is credited.
        scale: "std" divides by the standard deviation over the batch.

    Returns:
        float32 of shape (B, T); 0 outside the steps.
    """
    mask_BT = batch.mask_BT.float()
    padded_BS = torch.zeros(batch.step_mask_BS.shape, device=mask_BT.device)
    for row, values in enumerate(rewards):
        padded_BS[row, : len(values)] = torch.tensor(values, device=mask_BT.device)
    if credit == "mean":
        reward_BT = padded_BS.gather(1, batch.step_BT.clamp(min=0)) * mask_BT
        return_BT = _sum_to_go(reward_BT) / _sum_to_go(mask_BT).clamp(min=1)
    else:
        return_BT = _sum_to_go(padded_BS).gather(1, batch.step_BT.clamp(min=0))
    grouped = (len(rewards) // group_size, -1)
    total_P1 = (return_BT * mask_BT).view(grouped).sum(1, keepdim=True)
    count_P1 = mask_BT.view(grouped).sum(1, keepdim=True).clamp(min=1)
    baseline_B1 = (total_P1 / count_P1).repeat_interleave(group_size, dim=0)
    centred_BT = (return_BT - baseline_B1) * mask_BT
    if scale == "std":
        centred_BT = centred_BT / (centred_BT.square().sum() / mask_BT.sum().clamp(min=1)).sqrt().clamp(min=1e-6)
    return centred_BT


def _sum_to_go(values: torch.Tensor) -> torch.Tensor:
    return values.flip(1).cumsum(1).flip(1)
