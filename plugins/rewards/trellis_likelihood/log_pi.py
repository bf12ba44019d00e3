"""The policy's log-probability as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from trellis import Policy, RewardModel, Trajectory
from trellis_likelihood.config import LogPiConfig


class LogPi(RewardModel):
    """log π of the steps, in nats.

    Steps that carry log-probabilities (as everything sampled does) are taken at their word; others are scored by the
    policy.
    """

    Config = LogPiConfig

    def __init__(self, config: LogPiConfig, *, policy: Policy) -> None:
        self.config = config
        self.policy = policy

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return log π, per step or summed over the prefix."""
        steps = [[step.log_prob for step in t.steps] for t in self.policy.with_log_probs(trajectories)]
        return steps if self.config.span == "step" else [list(accumulate(values)) for values in steps]
