"""A padded batch of tokenised trajectories.

Shape suffixes: B trajectories, T tokens, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trellis.types import Trajectory


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
    """

    trajectories: tuple[Trajectory, ...]
    ids_BT: torch.Tensor
    attention_BT: torch.Tensor
    mask_BT: torch.Tensor
    step_BT: torch.Tensor
    last_BS: torch.Tensor
    step_mask_BS: torch.Tensor

    def per_step(self, values_BS: torch.Tensor) -> list[list[float]]:
        """Turn a tensor of shape (B, S) into one list of floats per trajectory."""
        rows = values_BS.tolist()
        return [row[: len(t.steps)] for row, t in zip(rows, self.trajectories, strict=True)]


def pad(
    prompts: Sequence[Sequence[int]], trajectories: Sequence[Trajectory], *, pad_id: int, device: torch.device | str
) -> TokenBatch:
    """Build a batch from encoded prompts and trajectories whose steps hold their tokens (none of them empty).

    Args:
        prompts: The prompt's token ids, one sequence per trajectory.
        trajectories: As many trajectories.
        pad_id: What fills the rows; never attended to.
        device: Where the tensors go.
    """
    num_rows = len(trajectories)
    lengths = [len(p) + t.num_tokens for p, t in zip(prompts, trajectories, strict=True)]
    width, num_steps = max(lengths), max(1, *(len(t.steps) for t in trajectories))
    ids = torch.full((num_rows, width), pad_id, dtype=torch.int64)
    attention = torch.zeros(num_rows, width, dtype=torch.int64)
    step = torch.full((num_rows, width), -1, dtype=torch.int64)
    last = torch.zeros(num_rows, num_steps, dtype=torch.int64)
    step_mask = torch.zeros(num_rows, num_steps, dtype=torch.bool)
    for row, (prompt, trajectory) in enumerate(zip(prompts, trajectories, strict=True)):
        tokens, owner, position = list(prompt), [-1] * len(prompt), len(prompt)
        for index, s in enumerate(trajectory.steps):
            tokens += s.token_ids
            owner += [index] * len(s.token_ids)
            position += len(s.token_ids)
            last[row, index] = position - 1
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        step[row, : len(owner)] = torch.tensor(owner, dtype=torch.int64)
        attention[row, : len(tokens)] = 1
        step_mask[row, : len(trajectory.steps)] = True
    return TokenBatch(
        trajectories=tuple(trajectories),
        ids_BT=ids.to(device),
        attention_BT=attention.to(device),
        mask_BT=(step >= 0).to(device),
        step_BT=step.to(device),
        last_BS=last.to(device),
        step_mask_BS=step_mask.to(device),
    )
