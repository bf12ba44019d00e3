"""The task's verifier as a reward."""

from __future__ import annotations

from collections.abc import Sequence

from trellis import RewardModel, Task, Trajectory
from trellis_outcome.config import VerifierConfig


class Verifier(RewardModel):
    """0 for every step but the last of a finished trajectory, which gets the verifier's score.

    In search it is an upper bound, not a competitor: it looks the answer up.
    """

    Config = VerifierConfig

    def __init__(self, config: VerifierConfig, *, task: Task) -> None:
        self.config = config
        self.task = task

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the verifier's score at the end, 0 before."""
        return [self._steps(trajectory) for trajectory in trajectories]

    def _steps(self, trajectory: Trajectory) -> list[float]:
        if not trajectory.steps:
            return []
        last = self.task.verify(trajectory).score if trajectory.finished else 0.0
        return [0.0] * (len(trajectory.steps) - 1) + [last]
