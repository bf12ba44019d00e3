"""RewardModel: a number per step. The same one pays RL and steers search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from trellis.types import Rollout, Trajectory


class RewardModel(ABC):
    """Scores the steps of trajectories; higher is better.

    Capabilities: "learned" (is a `LearnedReward`), "expert-traces" (its `update` needs the task's traces).
    """

    @abstractmethod
    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return what search steers by: one finite float per step, the worth of the prefix that ends with it.

        The score of a step depends on the prompt and the steps up to it, never on what else is in the call.
        """

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return what reinforcement learning is paid: one finite float per step. The same as `score` unless stated."""
        return self.score(trajectories)


class LearnedReward(RewardModel):
    """A reward that learns from traces and rollouts."""

    @abstractmethod
    def update(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Mapping[str, float]:
        """Learn from one batch and return metrics. Several processes do so alike (see `PolicyOptimizer`).

        Args:
            traces: Correct trajectories for the problems of `rollouts`, as the task gives them.
            rollouts: Trajectories of the policy with their outcomes.
        """

    def loss(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> float | None:
        """Return the loss of a batch without learning from it; None where there is none.

        On problems held out, it compares fits by what the reward itself may know: with given traces as experts, without
        any verifier. A reward that has no loss to compare leaves this method as it is.
        """
        return None

    @abstractmethod
    def reset(self, *, seed: int, num_updates: int | None = None) -> None:
        """Forget everything learned; the next update starts from the policy's present weights.

        Args:
            seed: For whatever is drawn at random from now on.
            num_updates: How many updates will follow, for a learning-rate schedule; None when that is not known.
        """

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write everything learned, its optimizer's state included, into an empty directory."""

    @abstractmethod
    def load(self, directory: Path) -> None:
        """Take what `save` wrote; updates go on as if never interrupted.

        Raises:
            CheckpointError: It is missing or does not fit.
        """
