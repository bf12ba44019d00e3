"""The process reward implicit in a language model that was trained on outcomes.

Free Process Rewards without Process Labels (Yuan et al. 2024, https://arxiv.org/abs/2412.01981) and PRIME (Cui et al.
2025, https://arxiv.org/abs/2502.01456): let the outcome reward be a scaled log-ratio of two language models,

    r(y) = β log p_φ(y) / p_ref(y) = Σ_t q_t,      q_t = β (log p_φ(y_t | y_<t) - log p_ref(y_t | y_<t)),

and train φ by cross-entropy between σ(r(y)) and the outcome. Then Σ_{i ≤ t} q_i is a value of the prefix (up to one of
the prompt: proposition 3.1 of the former), and q_t what token t gained. φ and ref both begin as the policy's present
weights; ref stays there. So every q is 0 before the first update, and no label is needed but the outcome.

A step's reward is the sum of q over its tokens; a prefix's score is the sum over all its tokens.

Deliberate deviations: a step, not a token, is what is paid; ref is the policy at the making of the reward and never
moves with it.

Shape suffixes: B rollouts, T tokens, S steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trellis import Rollout, TrainablePolicy, Trajectory
from trellis.fitting.reward import NetworkReward, Objective
from trellis.nn import TokenBatch, TokenBudget, fork, in_parts, module_log_probs, sharded, sum_over_steps, within
from trellis_prm.config import ImplicitConfig


class LogRatio(torch.nn.Module):
    """β log p_φ / p_ref per token: two forks of a language model, of which one is trained."""

    def __init__(self, policy_module: torch.nn.Module, *, beta: float, budget: TokenBudget | None = None) -> None:
        super().__init__()
        self.beta = beta
        self.budget = budget
        self.phi = fork(policy_module)
        self.ref = fork(policy_module).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Put φ into training; a reference with dropout would be another one each time."""
        super().train(mode)
        self.ref.eval()
        return self

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Return q of every token, float32 of shape (B, T); 0 outside the steps."""
        with torch.no_grad():
            ref_BT = self._log_probs(self.ref, batch)
        return self.beta * (self._log_probs(self.phi, batch) - ref_BT) * batch.mask_BT

    def _log_probs(self, model: torch.nn.Module, batch: TokenBatch) -> torch.Tensor:
        return in_parts(partial(module_log_probs, model), batch, self.budget)


class ImplicitPRM(NetworkReward[LogRatio]):
    """Σ q over a prefix to steer search, Σ q over a step to pay reinforcement learning."""

    Config = ImplicitConfig

    def __init__(
        self, config: ImplicitConfig, *, policy: TrainablePolicy, trunk: TrainablePolicy | None = None
    ) -> None:
        super().__init__(config, policy=policy, trunk=trunk)
        self.config = config

    def make_net(self) -> LogRatio:
        """Return two forks of the trunk's language model, its head included."""
        return LogRatio(self.trunk.module, beta=self.config.beta, budget=self.trunk.budget)

    def objective(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Objective[LogRatio]:
        """Return the cross-entropy between σ(Σ q) and the outcomes; traces are not looked at."""
        batch = self.batch([rollout.trajectory for rollout in rollouts])
        correct_B = torch.tensor([float(r.outcome.correct) for r in rollouts], device=batch.ids_BT.device)

        def loss(net: LogRatio) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            logit_B = sharded(net, batch).sum(1)
            accuracy = ((logit_B > 0) == correct_B.bool()).float().mean()
            metrics = {"accuracy": accuracy, "label_mean": correct_B.mean(), "logit_size": logit_B.abs().mean()}
            return binary_cross_entropy_with_logits(logit_B, correct_B), metrics

        return loss

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return Σ q over all tokens up to the end of each step: the value of the prefix."""
        return [row for batch, q_BS in self._judge(trajectories) for row in batch.per_step(q_BS.cumsum(1))]

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return Σ q over the tokens of each step: what the step gained."""
        return [row for batch, q_BS in self._judge(trajectories) for row in batch.per_step(q_BS)]

    @torch.no_grad()
    def _judge(self, trajectories: Sequence[Trajectory]) -> list[tuple[TokenBatch, torch.Tensor]]:
        net = self.net
        return within(
            self.trunk.budget,
            lambda: [(batch, sum_over_steps(net(batch), batch)) for batch in self.batches(trajectories)],
        )
