"""Weighted sums of rewards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import RewardModel, Trajectory
from trellis.errors import SpecError
from trellis.testing.material import Successor, SuccessorConfig
from trellis_combination.config import WeightedSumConfig
from trellis_combination.weighted_sum import WeightedSum

TRACES = Successor(SuccessorConfig()).traces("train")[:5]
NUMBERS = st.floats(-100, 100)


class Places(RewardModel):
    """Search gets the step's place times a factor, reinforcement learning its square."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def score(self, trajectories):
        return [[self.factor * place for place, _ in enumerate(t.steps)] for t in trajectories]

    def reward(self, trajectories):
        return [[self.factor * place**2 for place, _ in enumerate(t.steps)] for t in trajectories]


def weighted(weights, **rewards) -> WeightedSum:
    return WeightedSum(WeightedSumConfig(weights=weights), rewards=rewards)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_scores_and_rewards_are_the_weighted_sums_of_the_parts(u, v, a, b):
    combined = weighted({"one": u, "other": v}, other=Places(b), one=Places(a))
    alone = Places(u * a + v * b)
    for method in ("score", "reward"):
        for got, expected in zip(getattr(combined, method)(TRACES), getattr(alone, method)(TRACES), strict=True):
            assert got == pytest.approx(expected, abs=1e-8)


def test_a_weight_of_1_alone_changes_nothing():
    assert weighted({"one": 1.0}, one=Places(3.0)).score(TRACES) == Places(3.0).score(TRACES)


def test_nothing_and_empty_trajectories_are_scored_as_nothing():
    combined = weighted({"one": 1.0, "other": 2.0}, one=Places(1.0), other=Places(1.0))
    assert combined.score([]) == combined.reward([]) == []
    assert combined.score([Trajectory(TRACES[0].problem, "1\n")]) == [[]]


def test_names_on_one_side_only_are_refused_and_all_of_them_are_named():
    with pytest.raises(SpecError) as error:
        weighted({"orm": 1.0, "log_pi": 0.5}, orm=Places(1.0), **{"log-pi": Places(1.0)})
    message = str(error.value)
    assert "'log_pi' in `weights` but not among the needs `rewards`" in message
    assert "'log-pi' among the needs `rewards` but without a weight" in message
    assert error.value.problems[0].choices == ("orm", "log-pi")


@pytest.mark.parametrize("weights", [{}, {"one": float("nan")}, {"one": float("inf")}, {"one": True}])
def test_weights_that_weigh_nothing_are_refused(weights):
    with pytest.raises(ValidationError):
        WeightedSumConfig(weights=weights)
