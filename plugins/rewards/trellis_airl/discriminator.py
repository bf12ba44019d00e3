"""The discriminator over steps: its forms, and the identities that hold between them.

AIRL (Fu, Luo, Levine 2018, https://arxiv.org/abs/1710.11248) with a step as the action:

    D(a | s) = exp f(s, a) / (exp f(s, a) + π(a | s)),        log D - log(1 - D) = f - log π = l.

So D = σ(l) exactly, and neither D nor exp f is ever computed: everything is done on the logit l. What differs between
the forms is which of l and f the network gives.

    policy-skip   network → l,      f = l + log π         (the policy's log π is a skip connection, no gradient)
    scalar-head   network → f,      l = f - log π
    shaped        network → g, h,   f = g + γ h(s') - h(s),  l = f - log π,  with h = 0 at the end of a finished trajectory
    lm-density    network → log q(step | prefix) = f,        l = f - log π;  q = π at first, so l = 0
    gail          network → l = f   (Ho, Ermon 2016, https://arxiv.org/abs/1606.03476: D = σ(l) without log π)

In every form log π is a number given by the policy, never something the discriminator's gradient reaches.

Shape suffixes: B trajectories, T tokens, S steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trellis.nn import (
    StepNet,
    StepWords,
    TokenBatch,
    TokenBudget,
    at_steps,
    fork,
    in_parts,
    module_log_probs,
    sum_over_steps,
)

Form = Literal["policy-skip", "scalar-head", "shaped", "lm-density", "gail"]


TRAINS_ON_LOG_PI: dict[Form, bool] = {
    "policy-skip": False,
    "scalar-head": True,
    "shaped": True,
    "lm-density": True,
    "gail": False,
}
"""Whether l depends on log π, so that steps must be scored by the live policy for training."""


class Judged(NamedTuple):
    """What the discriminator says of steps; each of shape (B, S), 0 where there is no step.

    Attributes:
        logit_BS: l = log D - log(1 - D).
        f_BS: f; l + log π in every form but "gail".
        g_BS: The shaped form's g; f in all others.
    """

    logit_BS: torch.Tensor
    f_BS: torch.Tensor
    g_BS: torch.Tensor


class Discriminator(torch.nn.Module, ABC):
    """A network that judges steps."""

    @abstractmethod
    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Judge every step.

        Args:
            batch: The trajectories.
            log_pi_BS: log π(step | prefix) under the live policy; no gradient flows into it.
        """


class PolicySkip(Discriminator):
    """The network gives l."""

    def __init__(self, net: StepNet | StepWords) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Return l, and f = l + log π."""
        logit_BS = self.net(batch)
        f_BS = (logit_BS + log_pi_BS.detach()) * batch.step_mask_BS
        return Judged(logit_BS, f_BS, f_BS)


class ScalarHead(Discriminator):
    """The network gives f."""

    def __init__(self, net: StepNet | StepWords) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Return f, and l = f - log π."""
        f_BS = self.net(batch)
        return Judged((f_BS - log_pi_BS.detach()) * batch.step_mask_BS, f_BS, f_BS)


class Shaped(Discriminator):
    """The network gives g and h."""

    def __init__(self, policy_module: torch.nn.Module, *, gamma: float, budget: TokenBudget | None = None) -> None:
        super().__init__()
        self.net = StepNet(policy_module, num_outputs=2, budget=budget)
        self.gamma = gamma

    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Return g, f = g + γ h(s') - h(s), and l = f - log π."""
        value_BT2 = self.net.at_tokens(batch)
        g_BS = at_steps(value_BT2[..., 0], batch)
        f_BS = g_BS + shaping(value_BT2[..., 1], batch, gamma=self.gamma)
        return Judged((f_BS - log_pi_BS.detach()) * batch.step_mask_BS, f_BS, g_BS)


class LMDensity(Discriminator):
    """The network is a language model q, and f = log q."""

    def __init__(self, policy_module: torch.nn.Module, *, budget: TokenBudget | None = None) -> None:
        super().__init__()
        self.model = fork(policy_module)
        self.budget = budget

    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Return f = Σ log q over the step's tokens, and l = f - log π."""
        log_q_BT = in_parts(partial(module_log_probs, self.model), batch, self.budget)
        f_BS = sum_over_steps(log_q_BT, batch)
        return Judged((f_BS - log_pi_BS.detach()) * batch.step_mask_BS, f_BS, f_BS)


class Gail(Discriminator):
    """The network gives l, and log π has no part in it."""

    def __init__(self, net: StepNet | StepWords) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: TokenBatch, log_pi_BS: torch.Tensor) -> Judged:
        """Return l for all three."""
        logit_BS = self.net(batch)
        return Judged(logit_BS, logit_BS, logit_BS)


def discriminator(
    form: Form,
    policy_module: torch.nn.Module,
    *,
    gamma: float = 1.0,
    budget: TokenBudget | None = None,
    words: StepWords | None = None,
) -> Discriminator:
    """Make the discriminator of a form from the policy's present weights; its heads start at zero.

    Args:
        form: Which.
        policy_module: The policy's language model, forked.
        gamma: γ of the shaped form.
        budget: How many tokens go through it at once.
        words: What to take instead of the policy's trunk, in a form with one output.
    """
    if form == "shaped":
        return Shaped(policy_module, gamma=gamma, budget=budget)
    if form == "lm-density":
        return LMDensity(policy_module, budget=budget)
    forms: dict[Form, type[PolicySkip | ScalarHead | Gail]] = {
        "policy-skip": PolicySkip,
        "scalar-head": ScalarHead,
        "gail": Gail,
    }
    return forms[form](words or StepNet(policy_module, budget=budget))


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
    logit: torch.Tensor, *, expert_weight: torch.Tensor, negative_weight: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return -E_expert[log D] - E_negative[log(1 - D)], each a weighted mean, computed on the logit.

    Args:
        logit: l of steps, of any shape.
        expert_weight: How much each step counts among the experts', of the same shape; 0 where it does not.
        negative_weight: The same among the negatives. A step may count on both sides: the policy's own correct rollouts are
            experts, and negatives as all it writes.
        label_smoothing: The expert's label is 1 - this, the negatives' is this.
    """

    def side(weight: torch.Tensor, label: float) -> torch.Tensor:
        bce = binary_cross_entropy_with_logits(logit, torch.full_like(logit, label), reduction="none")
        return (bce * weight).sum() / weight.sum().clamp(min=1e-9)

    return side(expert_weight, 1 - label_smoothing) + side(negative_weight, label_smoothing)
