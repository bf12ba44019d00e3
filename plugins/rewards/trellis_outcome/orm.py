"""The outcome reward model: it is told at the end of a rollout whether that was correct.

Training Verifiers to Solve Math Word Problems (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168), the solution-level
verifier of its section 4.2; its token-level one is, read once a step, `outcome-value`.

    loss = -mean over rollouts of [y log σ(l_K) + (1 - y) log(1 - σ(l_K))]

where l_K is the logit at the last step of a rollout and y whether its outcome is correct. The last step of a rollout
that was cut short counts as well: it is not correct.

Deliberate deviations: no language-modelling loss beside it, because the trunk is a copy that samples nothing; the head
reads the last token of a step and begins at zero.

Shape suffixes: B rollouts, S steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trellis import Rollout, TrainablePolicy, Trajectory
from trellis.fitting.reward import Objective
from trellis.fitting.step_reward import StepReward
from trellis.nn import StepNet, TokenBatch, sharded
from trellis_outcome.config import ORMConfig


class ORM(StepReward):
    """The logit of P(correct | the whole rollout). It was trained at the last step only, and is read at every one."""

    Config = ORMConfig

    def __init__(self, config: ORMConfig, *, policy: TrainablePolicy, trunk: TrainablePolicy | None = None) -> None:
        super().__init__(config, policy=policy, trunk=trunk)
        self.config = config

    def objective(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Objective[StepNet]:
        """Return the cross-entropy between the last steps' logits and the outcomes; traces are not looked at."""
        batch = self.batch([rollout.trajectory for rollout in rollouts])
        correct_B = torch.tensor([float(r.outcome.correct) for r in rollouts], device=batch.ids_BT.device)

        def loss(net: StepNet) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            logit_B = at_last_step(sharded(net, batch), batch)
            accuracy = ((logit_B > 0) == correct_B.bool()).float().mean()
            metrics = {"accuracy": accuracy, "label_mean": correct_B.mean()}
            return binary_cross_entropy_with_logits(logit_B, correct_B), metrics

        return loss


def at_last_step(values_BS: torch.Tensor, batch: TokenBatch) -> torch.Tensor:
    """Return the value at the last step of every row, each of which has one: shape (B,)."""
    return values_BS.gather(1, batch.step_mask_BS.sum(1, keepdim=True) - 1)[:, 0]
