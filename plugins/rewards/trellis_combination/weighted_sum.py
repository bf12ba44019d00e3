"""A weighted sum of rewards: a(prefix) + w · log π(prefix), and whatever else adds up.

The sum is of the scores as they are. Standardising each first would need the mean over some set of trajectories, and a
score may depend on nothing but its own prefix; so the weights carry the units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trellis import RewardModel, Trajectory
from trellis.errors import SpecError, SpecProblem
from trellis_combination.config import WeightedSumConfig


class WeightedSum(RewardModel):
    """Σ weight · score, and for reinforcement learning Σ weight · reward, step by step.

    It learns nothing itself: a learned reward among its parts is fitted by a stage of its own (`train` or `fit-reward`).
    """

    Config = WeightedSumConfig

    def __init__(self, config: WeightedSumConfig, *, rewards: Mapping[str, RewardModel]) -> None:
        self.config = config
        self.rewards = rewards
        without = [name for name in rewards if name not in config.weights]
        unknown = [name for name in config.weights if name not in rewards]
        if without or unknown:
            raise SpecError([SpecProblem(_mismatch(without, unknown, rewards), path="weights", choices=tuple(rewards))])

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the weighted sum of the scores."""
        return self._sum([(self.config.weights[n], r.score(trajectories)) for n, r in self.rewards.items()])

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the weighted sum of what each pays reinforcement learning."""
        return self._sum([(self.config.weights[n], r.reward(trajectories)) for n, r in self.rewards.items()])

    def _sum(self, parts: Sequence[tuple[float, Sequence[Sequence[float]]]]) -> list[list[float]]:
        weights = [weight for weight, _ in parts]
        return [
            [sum(w * value for w, value in zip(weights, step, strict=True)) for step in zip(*rows, strict=True)]
            for rows in zip(*(scores for _, scores in parts), strict=True)
        ]


def _mismatch(without: Sequence[str], unknown: Sequence[str], rewards: Mapping[str, RewardModel]) -> str:
    faults = []
    if unknown:
        faults.append(f"{_quoted(unknown)} in `weights` but not among the needs `rewards`")
    if without:
        faults.append(f"{_quoted(without)} among the needs `rewards` but without a weight")
    return (
        f"weighted-sum: {', and '.join(faults)}. `weights` must name each of the `rewards` ({_quoted(list(rewards))}) once, "
        "and nothing else"
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
