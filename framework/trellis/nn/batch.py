"""A padded batch of tokenised trajectories.

Shape suffixes: B trajectories, T tokens, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from trellis.types import Trajectory


class Allowed(NamedTuple):
    """A token that had to be one of some."""

    row: int
    place: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Trajectories as tensors, padded on the right.

    Attributes:
        trajectories: Where the rows come from; every step holds its tokens.
        ids_BT: int64, prompt and steps.
        attention_BT: int64, 1 at real tokens.
        mask_BT: bool, True at the tokens of steps: what the policy wrote.
        step_BT: int64, the index of the step each token belongs to; -1 at prompt and padding.
        last_BS: int64, the position of the last token of each step; 0 where there is no such step.
        step_mask_BS: bool, True where a row has that step.
        allowed: Where a token had to be one of some: row, position, and these; anywhere else it could be any.
    """

    trajectories: tuple[Trajectory, ...]
    ids_BT: torch.Tensor
    attention_BT: torch.Tensor
    mask_BT: torch.Tensor
    step_BT: torch.Tensor
    last_BS: torch.Tensor
    step_mask_BS: torch.Tensor
    allowed: tuple[Allowed, ...] = ()

    def constrain(self, logits_BTV: torch.Tensor) -> torch.Tensor:
        """Return logits, those at t of the token at t + 1, in which no token is possible that was not allowed.

        Float32 where anything is masked: -1e30 there, so that p log p is 0 and no gradient is NaN.
        """
        if not self.allowed:
            return logits_BTV
        rows, places, tokens = zip(*self.allowed, strict=True)
        row_N = torch.tensor(rows, device=logits_BTV.device)
        before_N = torch.tensor(places, device=logits_BTV.device) - 1
        counts_N = torch.tensor([len(each) for each in tokens], device=logits_BTV.device)
        token_M = torch.tensor([token for each in tokens for token in each], device=logits_BTV.device)
        forbidden_BTV = torch.zeros(logits_BTV.shape, dtype=torch.bool, device=logits_BTV.device)
        forbidden_BTV[row_N, before_N] = True
        forbidden_BTV[row_N.repeat_interleave(counts_N), before_N.repeat_interleave(counts_N), token_M] = False
        return logits_BTV.float().masked_fill(forbidden_BTV, -1e30)

    def per_step(self, values_BS: torch.Tensor) -> list[list[float]]:
        """Turn a tensor of shape (B, S) into one list of floats per trajectory."""
        rows = values_BS.tolist()
        return [row[: len(t.steps)] for row, t in zip(rows, self.trajectories, strict=True)]


def pad(
    prompts: Sequence[Sequence[int]],
    trajectories: Sequence[Trajectory],
    *,
    pad_id: int,
    device: torch.device | str,
    allowed: Sequence[Allowed] = (),
) -> TokenBatch:
    """Build a batch from encoded prompts and trajectories whose steps hold their tokens (none of them empty).

    Args:
        prompts: The prompt's token ids, one sequence per trajectory.
        trajectories: As many trajectories.
        pad_id: What fills the rows; never attended to.
        device: Where the tensors go.
        allowed: What tokens had to be one of.
    """
    width = max(len(p) + t.num_tokens for p, t in zip(prompts, trajectories, strict=True))
    num_steps = max(1, *(len(t.steps) for t in trajectories))
    ids, owners, ends, lengths = [], [], [], []
    for prompt, trajectory in zip(prompts, trajectories, strict=True):
        tokens, owner, end = list(prompt), [-1] * len(prompt), []
        for index, step in enumerate(trajectory.steps):
            tokens += step.token_ids
            owner += [index] * len(step.token_ids)
            end.append(len(tokens) - 1)
        lengths.append(len(tokens))
        ids.append(tokens + [pad_id] * (width - len(tokens)))
        owners.append(owner + [-1] * (width - len(owner)))
        ends.append(end + [0] * (num_steps - len(end)))
    step_BT = torch.tensor(owners)
    num_steps_B1 = torch.tensor([len(t.steps) for t in trajectories])[:, None]
    return TokenBatch(
        trajectories=tuple(trajectories),
        ids_BT=torch.tensor(ids).to(device),
        attention_BT=(torch.arange(width) < torch.tensor(lengths)[:, None]).long().to(device),
        mask_BT=(step_BT >= 0).to(device),
        step_BT=step_BT.to(device),
        last_BS=torch.tensor(ends).to(device),
        step_mask_BS=(torch.arange(num_steps) < num_steps_B1).to(device),
        allowed=tuple(allowed),
    )
