"""A reward that knows nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from trellis import RewardModel, Trajectory
from trellis_outcome.config import RandomConfig

_BITS = 53
"""As many as a float holds exactly."""


class RandomScore(RewardModel):
    """A number in [0, 1) for each prefix, made of the seed, the problem's id and the prefix's text alone.

    A lower bound: whatever a search gains by it, it gains by having more than one sample. The number of a prefix is the
    same in every process, so a beam that comes by it twice finds the same.
    """

    Config = RandomConfig

    def __init__(self, config: RandomConfig) -> None:
        self.config = config

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the number of the prefix that ends with each step."""
        return [list(self._numbers(trajectory)) for trajectory in trajectories]

    def _numbers(self, trajectory: Trajectory) -> Iterator[float]:
        text = ""
        for step in trajectory.steps:
            text += step.text
            key = json.dumps([self.config.seed or 0, trajectory.problem.id, text])
            digest = hashlib.sha256(key.encode()).digest()
            yield (int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / 2**_BITS
