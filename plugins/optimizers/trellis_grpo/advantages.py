"""Advantages per token: from outcomes, and from step rewards.

Shape suffixes: P groups of G rollouts in a row, B = P G rollouts, T tokens, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

from trellis.nn import TokenBatch

Baseline: TypeAlias = Literal["mean", "leave-one-out"]
Credit: TypeAlias = Literal["mean", "sum", "min"]
Form: TypeAlias = Literal["reward", "potential"]
Scale: TypeAlias = Literal["none", "std"]


def outcome_advantages(
    scores: Sequence[float], group_size: int, *, baseline: Baseline = "mean", scale: Scale = "std"
) -> torch.Tensor:
    """Return (r - mean) / std within each group; 0 for groups without variance, which say nothing.

    DeepSeekMath (https://arxiv.org/abs/2402.03300), equation 21 without its process part. With scale "none" it is not
    divided (Dr. GRPO, https://arxiv.org/abs/2503.20783, section 3).

    With baseline "leave-one-out" r_i is compared with the mean of the others, which it does not enter (RLOO,
    https://arxiv.org/abs/2402.14740): r_i - Σ_{j≠i} r_j / (G - 1) = G / (G - 1) (r_i - mean).

    Args:
        scores: One outcome score per rollout, groups in a row.
        group_size: G.
        baseline: What a score is compared with.
        scale: What the difference is divided by.

    Returns:
        float32 of shape (B,).
    """
    r_PG = torch.tensor(scores, dtype=torch.float32).view(-1, group_size)
    std_P1 = r_PG.std(dim=1, correction=0, keepdim=True)
    centred_PG = r_PG - r_PG.mean(dim=1, keepdim=True)
    if baseline == "leave-one-out":
        centred_PG = centred_PG * group_size / (group_size - 1)
    scaled_PG = centred_PG / std_P1.clamp(min=1e-6) if scale == "std" else centred_PG
    return torch.where(std_P1 > 1e-6, scaled_PG, 0.0).flatten()


def process_advantages(
    values: Sequence[Sequence[float]],
    batch: TokenBatch,
    group_size: int,
    *,
    credit: Credit,
    scale: Scale,
    form: Form = "reward",
    temperature: float = 0.1,
) -> torch.Tensor:
    """Turn step values into centred token advantages.

    The returns of `token_returns` are compared with the mean return over all tokens of the group: a baseline per *step*
    would pay for fewer steps (PURE, https://arxiv.org/abs/2504.15275).

    Args:
        values: One float per step, one sequence per rollout, groups in a row.
        batch: The rollouts as tokens.
        group_size: G.
        credit: How a token is credited.
        scale: "std" divides by the standard deviation over the batch.
        form: "reward": a step's reward is its value. "potential": it is what `potential_rewards` makes of the values.
        temperature: Of credit "min".

    Returns:
        float32 of shape (B, T); 0 outside the steps.
    """
    mask_BT = batch.mask_BT.float()
    padded_BS = torch.zeros(batch.step_mask_BS.shape, device=mask_BT.device)
    for row, per_step in enumerate(values):
        padded_BS[row, : len(per_step)] = torch.tensor(per_step, device=mask_BT.device)
    if form == "potential":
        padded_BS = potential_rewards(padded_BS, batch.step_mask_BS, group_size)
    return_BT = token_returns(padded_BS, batch, credit=credit, temperature=temperature)
    grouped = (len(values) // group_size, -1)
    total_P1 = (return_BT * mask_BT).view(grouped).sum(1, keepdim=True)
    count_P1 = mask_BT.view(grouped).sum(1, keepdim=True).clamp(min=1)
    baseline_B1 = (total_P1 / count_P1).repeat_interleave(group_size, dim=0)
    centred_BT = (return_BT - baseline_B1) * mask_BT
    if scale == "std":
        centred_BT = centred_BT / (centred_BT.square().sum() / mask_BT.sum().clamp(min=1)).sqrt().clamp(min=1e-6)
    return centred_BT


def potential_rewards(value_BS: torch.Tensor, step_mask_BS: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return V_k - V_{k-1}, what step k adds to the value of the prefix.

    Potential-based shaping (Ng, Harada and Russell 1999, theorem 1, with γ = 1): whatever the steps between, their
    rewards add up to V_last - V_0, so none is to be had by writing more of them. V_0, the value of the prompt, is the
    mean of V_1 over the group: a value is the mean of the values one step on.

    Args:
        value_BS: V of the prefix that ends with each step; 0 where there is none.
        step_mask_BS: True where a rollout has that step.
        group_size: G.

    Returns:
        Shape (B, S); 0 where there is no step.
    """
    begun_PG = step_mask_BS[:, 0].view(-1, group_size)
    first_PG = value_BS[:, 0].view(-1, group_size)
    start_P1 = (first_PG * begun_PG).sum(1, keepdim=True) / begun_PG.sum(1, keepdim=True).clamp(min=1)
    before_BS = torch.cat([start_P1.repeat_interleave(group_size, dim=0), value_BS[:, :-1]], dim=1)
    return (value_BS - before_BS) * step_mask_BS


def token_returns(
    reward_BS: torch.Tensor, batch: TokenBatch, *, credit: Credit, temperature: float = 0.1
) -> torch.Tensor:
    """Return what each token of a step is credited with.

    - "mean": the mean, over the token and those after it, of their step's reward. Cutting a step in two, or writing more
      steps of the same worth, changes nothing.
    - "sum": Σ_{i≥k} r_i over the token's step k and those after it. It pays for steps of positive reward.
    - "min": Σ_{i≥k} r*_i with r*_i = softmax(-r / T)_i r_i over the steps of the trajectory (PURE,
      https://arxiv.org/abs/2504.15275). With T → 0 it is the smallest reward up to the step that has it, and 0
      after that. More steps do not add up, but they do weigh more: only as T → 0 does cutting one change nothing.

    Args:
        reward_BS: The step rewards, 0 where there is no step.
        batch: The rollouts as tokens.
        credit: One of the above.
        temperature: T of "min".

    Returns:
        float32 of shape (B, T); of no meaning outside the steps.
    """
    step_BT = batch.step_BT.clamp(min=0)
    if credit == "mean":
        mask_BT = batch.mask_BT.float()
        reward_BT = reward_BS.gather(1, step_BT) * mask_BT
        return _sum_to_go(reward_BT) / _sum_to_go(mask_BT).clamp(min=1)
    if credit == "min":
        # Not minus infinity: a rollout without any step would have no softmax.
        lowest = torch.finfo(reward_BS.dtype).min
        reward_BS = (-reward_BS / temperature).masked_fill(~batch.step_mask_BS, lowest).softmax(1) * reward_BS
    return _sum_to_go(reward_BS).gather(1, step_BT)


def _sum_to_go(values: torch.Tensor) -> torch.Tensor:
    return values.flip(1).cumsum(1).flip(1)
