"""The value of a prefix, learned from outcomes: V(prefix) = P(a rollout that begins with it is correct).

Every step of a rollout is labelled with the rollout's outcome y. Averaged over the rollouts that share a prefix, that is
an unbiased sample of its value, so both losses are least where σ(l_k) = P(correct | prefix up to step k):

    bce    -mean over steps of [y log σ(l_k) + (1 - y) log(1 - σ(l_k))]
    mse     mean over steps of (σ(l_k) - y)²

The token-level verifier of Cobbe et al. 2021 (https://arxiv.org/abs/2110.14168, section 4.2) and the value baseline of
https://arxiv.org/abs/2211.14275. The value is that of the policy the rollouts are from: under another it is another.

Deliberate deviation: it is read once a step, at its last token, not at every token.

Shape suffixes: B rollouts, S steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trellis import Rollout, TrainablePolicy, Trajectory
from trellis.fitting.reward import Objective
from trellis.fitting.step_reward import StepReward
from trellis.nn import StepNet, masked_mean, sharded
from trellis_outcome.config import OutcomeValueConfig


class OutcomeValue(StepReward):
    """V(prefix): its logit steers search, the probability itself pays reinforcement learning."""

    Config = OutcomeValueConfig

    def __init__(
        self, config: OutcomeValueConfig, *, policy: TrainablePolicy, trunk: TrainablePolicy | None = None
    ) -> None:
        super().__init__(config, policy=policy, trunk=trunk)
        self.config = config

    def objective(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Objective[StepNet]:
        """Return the loss between every step's logit and its rollout's outcome; traces are not looked at."""
        batch = self.batch([rollout.trajectory for rollout in rollouts])
        mask_BS = batch.step_mask_BS
        correct_B = torch.tensor([float(r.outcome.correct) for r in rollouts], device=mask_BS.device)
        label_BS = correct_B[:, None].expand(mask_BS.shape)

        def loss(net: StepNet) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            logit_BS = sharded(net, batch)
            if self.config.loss == "bce":
                loss_BS = binary_cross_entropy_with_logits(logit_BS, label_BS, reduction="none")
            else:
                loss_BS = (logit_BS.sigmoid() - label_BS).square()
            right_BS = ((logit_BS > 0) == label_BS.bool()).float()
            metrics = {"accuracy": masked_mean(right_BS, mask_BS), "label_mean": masked_mean(label_BS, mask_BS)}
            return masked_mean(loss_BS, mask_BS), metrics

        return loss
