"""The discriminator over steps: its network, its three forms, and the identities that hold between them.

AIRL (Fu, Luo, Levine 2018, https://arxiv.org/abs/1710.11248) with a step as the action:

    D(a | s) = exp f(s, a) / (exp f(s, a) + π(a | s)),        log D - log(1 - D) = f - log π = l.

So D = σ(l) exactly, and neither D nor exp f is ever computed: everything is done on the logit l. What differs between
the forms is which of l and f the network gives.

    policy-skip   network → l,                    f = l + log π      (the policy's log π is a skip connection, no gradient)
    scalar-head   network → f,                    l = f - log π
    shaped        network → g, h,  f = g + γ h(s') - h(s),  l = f - log π,  with h = 0 at the end of a finished trajectory

In every form log π is a number given by the policy, never something the discriminator's gradient reaches.

Shape suffixes: B trajectories, T tokens, S steps, H hidden width.
"""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trellis.nn import TokenBatch

Form = Literal["policy-skip", "scalar-head", "shaped"]


class Judged(NamedTuple):
    """What the discriminator says of steps; each of shape (B, S), 0 where there is no step.

    Attributes:
        logit_BS: l = log D - log(1 - D).
        f_BS: l + log π.
    """

    logit_BS: torch.Tensor
    f_BS: torch.Tensor


class Discriminator(torch.nn.Module):
    """The policy's trunk, copied, with scalar heads read at the last token of each step."""

    def __init__(self, policy_module: torch.nn.Module, *, form: Form, gamma: float) -> None:
        super().__init__()
        self.form = form
        self.gamma = gamma
        self.trunk = copy.deepcopy(policy_module).requires_grad_(True)
        width = self._hidden_width()
        self.head = torch.nn.Linear(width, 2 if form == "shaped" else 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def _hidden_width(self) -> int:
        token = torch.zeros(1, 1, dtype=torch.int64, device=next(self.trunk.parameters()).device)
        output = self.trunk(input_ids=token, attention_mask=token + 1, output_hidden_states=True)
        return int(output.hidden_states[-1].shape[-1])

    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Judge every step.

        Args:
            batch: The trajectories.
            log_pi_BS: log π(step | prefix) under the live policy; no gradient flows into it.
        """
        log_pi_BS = log_pi_BS.detach()
        hidden_BTH = self.trunk(
            input_ids=batch.ids_BT, attention_mask=batch.attention_BT, output_hidden_states=True
        ).hidden_states[-1]
        value_BT2 = self.head(hidden_BTH.to(self.head.weight.dtype)).float()
        out_BS = value_BT2[..., 0].gather(1, batch.last_BS) * batch.step_mask_BS
        if self.form == "policy-skip":
            return Judged(out_BS, (out_BS + log_pi_BS) * batch.step_mask_BS)
        f_BS = out_BS
        if self.form == "shaped":
            f_BS = out_BS + shaping(value_BT2[..., 1], batch, gamma=self.gamma)
        return Judged((f_BS - log_pi_BS) * batch.step_mask_BS, f_BS)


def shaping(potential_BT: torch.Tensor, batch: TokenBatch, *, gamma: float) -> torch.Tensor:
    """Return γ h(s') - h(s) for every step, where h of the end of a finished trajectory is 0.

    With h(terminal) ≠ 0 the shaping would not telescope to -h(s0) and would change what is optimal for trajectories of
    different lengths (Ng, Harada, Russell 1999; the note in imitation's shaped reward net).

    Args:
        potential_BT: h read at every token; a state is read at its last token.
        batch: The trajectories.
        gamma: γ.

    Returns:
        Shape (B, S), 0 where there is no step.
    """
    after_BS = potential_BT.gather(1, batch.last_BS)
    terminal_BS = torch.zeros_like(batch.step_mask_BS)
    for row, trajectory in enumerate(batch.trajectories):
        if trajectory.finished:
            terminal_BS[row, len(trajectory.steps) - 1] = True
    after_BS = after_BS.masked_fill(terminal_BS, 0.0)
    first_B1 = (batch.mask_BT.int().argmax(1, keepdim=True) - 1).clamp(min=0)
    before_BS = torch.cat([potential_BT.gather(1, first_B1), potential_BT.gather(1, batch.last_BS)[:, :-1]], dim=1)
    return (gamma * after_BS - before_BS) * batch.step_mask_BS


def loss(
    expert_logit_BS: torch.Tensor,
    expert_mask_BS: torch.Tensor,
    policy_logit_BS: torch.Tensor,
    policy_mask_BS: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return -E_expert[log D] - E_policy[log(1 - D)], each class weighing the same, computed on the logit."""

    def side(logit_BS: torch.Tensor, mask_BS: torch.Tensor, label: float) -> torch.Tensor:
        logit = logit_BS[mask_BS]
        return binary_cross_entropy_with_logits(logit, torch.full_like(logit, label))

    return side(expert_logit_BS, expert_mask_BS, 1 - label_smoothing) + side(
        policy_logit_BS, policy_mask_BS, label_smoothing
    )
