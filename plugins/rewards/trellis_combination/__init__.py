"""Rewards made of other rewards."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_combination.config import WeightedSumConfig


@hookimpl
def trellis_reward_models() -> Iterable[Component]:
    """Return the rewards of this plugin."""
    yield Component(
        name="weighted-sum",
        summary="a weighted sum of other rewards, e.g. a learned one plus a half of log π",
        config=WeightedSumConfig,
        factory="trellis_combination.weighted_sum:WeightedSum",
        needs={"rewards": Need("reward", many=True)},
    )
