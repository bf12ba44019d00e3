"""The task's step oracle as a reward."""

from __future__ import annotations

from collections.abc import Sequence

from trellis import RewardModel, Task, Trajectory
from trellis_outcome.config import OracleConfig


class Oracle(RewardModel):
    """1 for every step after which the problem can still be solved, 0 for the others.

    An upper bound for what any step reward can do, not a competitor: it solves the problem itself.
    """

    Config = OracleConfig

    def __init__(self, config: OracleConfig, *, task: Task) -> None:
        self.config = config
        self.task = task

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the oracle's verdicts as numbers."""
        return [[float(good) for good in self.task.step_oracle(trajectory)] for trajectory in trajectories]
