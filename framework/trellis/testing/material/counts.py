"""A learned reward without a network: it counts."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from trellis.component import Config
from trellis.contracts import LearnedReward
from trellis.errors import CheckpointError
from trellis.types import Rollout, Trajectory


class CountsConfig(Config):
    """How sure it is of what it has seen."""

    prior: float = Field(1.0, gt=0)
    """Added to every count: steps never seen are worth 0."""


class Counts(LearnedReward):
    """`log(times in traces + prior) - log(times in rollouts + prior)`: the best a discriminator of steps can do."""

    Config = CountsConfig

    def __init__(self, config: CountsConfig) -> None:
        self.prior = config.prior
        self.in_traces: Counter[str] = Counter()
        self.in_rollouts: Counter[str] = Counter()

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the log-ratio of each step."""
        return [[self._log_ratio(key) for key in _keys(trajectory)] for trajectory in trajectories]

    def _log_ratio(self, key: str) -> float:
        return math.log(self.in_traces[key] + self.prior) - math.log(self.in_rollouts[key] + self.prior)

    def update(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Mapping[str, float]:
        """Count."""
        self.in_traces.update(_all_keys(traces))
        self.in_rollouts.update(_all_keys(rollout.trajectory for rollout in rollouts))
        return {"steps_known": float(len(self.in_traces | self.in_rollouts))}

    def reset(self, *, seed: int, num_updates: int | None = None) -> None:
        """Forget all counts; nothing here is random."""
        self.in_traces.clear()
        self.in_rollouts.clear()

    def save(self, directory: Path) -> None:
        """Write the counts."""
        counts = {"traces": self.in_traces, "rollouts": self.in_rollouts}
        (directory / "counts.json").write_text(json.dumps(counts))

    def load(self, directory: Path) -> None:
        """Take the counts."""
        path = directory / "counts.json"
        try:
            counts = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} holds no counts: {error}", path=path) from error
        self.in_traces, self.in_rollouts = Counter(counts["traces"]), Counter(counts["rollouts"])


def _all_keys(trajectories: Iterable[Trajectory]) -> Iterator[str]:
    return (key for trajectory in trajectories for key in _keys(trajectory))


def _keys(trajectory: Trajectory) -> list[str]:
    return [f"{trajectory.prompt}{index}:{step.text.strip()}" for index, step in enumerate(trajectory.steps)]
