"""A padded batch of tokenised trajectories.

Shape suffixes: B trajectories, T tokens, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trellis.nn.masks import only
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
        allowed_BTW: int32, the tokens that could have stood at each position (`trellis.nn.masks`); None: all, everywhere.
    """

    trajectories: tuple[Trajectory, ...]
    ids_BT: torch.Tensor
    attention_BT: torch.Tensor
    mask_BT: torch.Tensor
    step_BT: torch.Tensor
    last_BS: torch.Tensor
    step_mask_BS: torch.Tensor
    allowed_BTW: torch.Tensor | None = None

    def constrained(self, logits_BTV: torch.Tensor) -> torch.Tensor:
        """Return logits in which what could not have been drawn is impossible; those at t predict the token at t + 1.

        Whoever takes log-probabilities of logits calls it first, and divides by a temperature before: a policy's
        log-probabilities are under the mask it samples with.
        """
        if self.allowed_BTW is None:
            return logits_BTV
        return only(logits_BTV, self.allowed_BTW.roll(-1, dims=1))

    def per_step(self, values_BS: torch.Tensor) -> list[list[float]]:
        """Turn a tensor of shape (B, S) into one list of floats per trajectory."""
        rows = values_BS.tolist()
        return [row[: len(t.steps)] for row, t in zip(rows, self.trajectories, strict=True)]

    def rows(self, indices: Sequence[int], *, width: int | None = None) -> TokenBatch:
        """Return some of the rows as a batch, padded as this one is, or to a width that holds all of their tokens."""
        rows = list(indices)
        return TokenBatch(
            trajectories=tuple(self.trajectories[i] for i in rows),
            ids_BT=self.ids_BT[rows, :width],
            attention_BT=self.attention_BT[rows, :width],
            mask_BT=self.mask_BT[rows, :width],
            step_BT=self.step_BT[rows, :width],
            last_BS=self.last_BS[rows],
            step_mask_BS=self.step_mask_BS[rows],
            allowed_BTW=None if self.allowed_BTW is None else self.allowed_BTW[rows, :width],
        )


def pad(
    prompts: Sequence[Sequence[int]],
    trajectories: Sequence[Trajectory],
    *,
    pad_id: int,
    device: torch.device | str,
) -> TokenBatch:
    """Build a batch from encoded prompts and trajectories whose steps hold their tokens (none of them empty).

    Args:
        prompts: The prompt's token ids, one sequence per trajectory.
        trajectories: As many trajectories.
        pad_id: What fills the rows; never attended to.
        device: Where the tensors go.
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
    )
