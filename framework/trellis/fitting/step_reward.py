"""Learned rewards that are one logit per step: what is left to a subclass is where its labels come from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trellis.fitting.reward import NetworkReward
from trellis.nn import StepNet
from trellis.types import Trajectory


class StepReward(NetworkReward[StepNet]):
    """The logit of the probability that a step is right, in whichever sense the labels give to the word."""

    def make_net(self) -> StepNet:
        """Return the policy's trunk, copied, with one head of zeros: every step is worth 1/2 before the first update."""
        return StepNet(self.trunk.module, budget=self.trunk.budget)

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the logit at every step; where it is the same, so is the probability."""
        return self.outputs(trajectories)

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return V(prefix) = σ(logit), in (0, 1).

        A probability, so that the difference between one step and the one before is what the step gained (a potential
        difference, https://arxiv.org/abs/2410.08146); a difference of logits would grow without bound near 0 and 1.
        """
        return [torch.tensor(row).sigmoid().tolist() for row in self.score(trajectories)]
