"""The prediction is of the measured gain; a plan that was stopped bounds it from above and no more."""

from dataclasses import replace

import pytest

from trellis import build
from trellis.errors import NotFittedError
from trellis.testing.material import Successor, SuccessorConfig
from trellis.testing.material.episodes import rollouts
from trellis.types import Outcome


@pytest.fixture
def rolled(skilled):
    return rollouts(Successor(SuccessorConfig(size=6)), skilled, count=6, n=3)


def measured(rollout, gain, *, bounded=False):
    return replace(rollout, outcome=Outcome(False, 0.0, gain=gain, bounded=bounded))


def fitted(policy, rolled, updates=150):
    reward = build("latency-predictor", {"learning_rate": 0.01}, policy=policy)
    losses = [reward.update([], rolled)["loss"] for _ in range(updates)]
    return [row[-1] for row in reward.score([rollout.trajectory for rollout in rolled])], losses


def test_gains_are_learned(skilled, rolled):
    distinct = list({r.trajectory.prompt + r.trajectory.text: r for r in rolled if r.trajectory.steps}.values())[:4]
    gains = [-2.0, 0.0, 0.5, 1.5][: len(distinct)]
    given = [measured(rollout, gain) for rollout, gain in zip(distinct, gains, strict=True)]
    assert fitted(skilled, given)[0] == pytest.approx(gains, abs=0.4)


def test_a_plan_that_was_stopped_is_predicted_at_its_bound_or_below(skilled, rolled):
    given = [measured(rollout, -1.5, bounded=True) for rollout in rolled if rollout.trajectory.steps]
    scores, losses = fitted(skilled, given)
    assert max(scores) < -1.3
    assert losses[-1] < 0.05


def test_a_bound_above_the_prediction_says_nothing(skilled, rolled):
    given = [measured(rollout, 1.0, bounded=True) for rollout in rolled if rollout.trajectory.steps]
    scores, losses = fitted(skilled, given, updates=3)
    assert losses == [0, 0, 0]
    assert max(map(abs, scores)) < 0.05


def test_without_measured_gains_it_says_what_is_missing(skilled, rolled):
    reward = build("latency-predictor", policy=skilled)
    assert reward.update([], [measured(rollout, None) for rollout in rolled]) == {"skipped": 1.0}
    with pytest.raises(NotFittedError, match="experience: true"):
        reward.score([rolled[0].trajectory])
