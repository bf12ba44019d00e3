"""A prediction of how a plan's time compares with the default's.

With t the plan's time and t₀ the default's, both measured, the *gain* is y = log t₀ - log t (`Outcome.gain`), and the network's
output l at a prefix of join decisions is fitted by Huber's loss H:

    loss = mean over prefixes of H(l - y)             plans that ran to their end
           mean over prefixes of H(max(0, l - y))     plans that were stopped: y is what they could have gained at most

so a plan that was stopped pulls a prediction down to its bound and no further (a Tobit model's one-sided part). Least
squares at a prefix is the mean gain over the measured plans that begin with it; at the last step it is the plan's own.

Relative times, as the default's own differ by orders of magnitude between queries; logarithms, as half and twice the time are
equally far. Learned latency models of plans: Neo (https://arxiv.org/abs/1904.03711) and Balsa (https://arxiv.org/abs/2201.01441)
predict the time of the best plan that contains a sub-plan; this predicts the mean over what was measured, there being no search
whose best could be looked up.

Shape suffixes: B rollouts, S steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from trellis import Rollout, Task, TrainablePolicy, Trajectory
from trellis.errors import CapabilityError
from trellis.fitting.reward import NetworkReward, Objective
from trellis.nn import StepNet, StepWords, masked_mean
from trellis_latency.config import LatencyPredictorConfig


class LatencyPredictor(NetworkReward[StepNet | StepWords]):
    """The predicted gain of every prefix, in natural logarithms: above 0 it will be faster than the default."""

    Config = LatencyPredictorConfig

    def __init__(self, config: LatencyPredictorConfig, *, policy: TrainablePolicy, task: Task | None = None) -> None:
        super().__init__(config, policy=policy)
        self.config = config
        self._task = task
        if config.reads == "words" and task is None:
            mend = "give the reward one (`needs: {task: NAME}`), or leave `reads: words` out."
            raise CapabilityError("latency-predictor", capability="task that says its steps' words", mend=mend)

    def make_net(self) -> StepNet | StepWords:
        """Return the policy's trunk with a head, or a weight for each of the task's words."""
        if self.config.reads == "words" and self._task is not None:
            return StepWords(self._task.step_words)
        return StepNet(self.trunk.module, budget=self.trunk.budget)

    def objective(
        self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]
    ) -> Objective[StepNet | StepWords] | None:
        """Return the loss between predictions and measured gains; traces are not looked at."""
        measured = [rollout for rollout in rollouts if rollout.outcome.gain is not None]
        if not measured:
            return None
        batch = self.policy.batch([rollout.trajectory for rollout in measured])
        device = batch.ids_BT.device
        gains = np.array([rollout.outcome.gain for rollout in measured], dtype=np.float32)
        if self.config.center:
            problems = np.array([rollout.trajectory.problem.id for rollout in measured])
            for problem in np.unique(problems):
                gains[problems == problem] -= gains[problems == problem].mean()
        gain_B1 = torch.from_numpy(gains)[:, None].to(device)
        bounded_B1 = torch.tensor([[rollout.outcome.bounded] for rollout in measured], device=device)
        mask_BS = batch.step_mask_BS
        if self.config.steps == "last":
            last_B1 = mask_BS.sum(1, keepdim=True) - 1
            mask_BS = torch.arange(mask_BS.shape[1], device=device) == last_B1

        def loss(net: StepNet | StepWords) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            error_BS = net(batch) - gain_B1
            error_BS = torch.where(bounded_B1, error_BS.clamp(min=0), error_BS)
            loss_BS = torch.nn.functional.huber_loss(
                error_BS, torch.zeros_like(error_BS), reduction="none", delta=self.config.delta
            )
            metrics = {"error": masked_mean(error_BS.abs(), mask_BS), "stopped_share": bounded_B1.float().mean()}
            return masked_mean(loss_BS, mask_BS), metrics

        return loss

    @property
    def why_skipped(self) -> str:
        """Say what was missing."""
        return (
            "no rollout had a measured gain: the task judges without measuring. Take a workload of queries, and fit with "
            "`experience: true` or on rollouts that were run"
        )

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the predicted gain of every prefix."""
        return self.outputs(trajectories)

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the predicted gain: what reinforcement learning is paid is what search is steered by."""
        return self.score(trajectories)
