"""Graded experts: every measured rollout counts by its gain, and the logit is the gain up to a constant of the problem."""

from dataclasses import replace

import numpy as np
import pytest

from trellis import build
from trellis.errors import SpecError
from trellis.testing.material import Successor, SuccessorConfig
from trellis.testing.material.episodes import rollouts
from trellis.types import Outcome
from trellis_airl.airl import _graded


@pytest.fixture
def rolled(skilled):
    return [r for r in rollouts(Successor(SuccessorConfig(size=6)), skilled, count=6, n=4) if r.trajectory.steps]


def graded(rollout, gain):
    return replace(rollout, outcome=Outcome(False, 0.0, gain=gain))


def test_degrees_are_one_in_the_mean_over_a_problem_and_differ_as_gains_do(rolled):
    given = [graded(rollout, 0.3 * place) for place, rollout in enumerate(rolled)]
    examples = _graded(given, temperature=0.6)
    by_problem = {}
    for example in examples:
        assert example.expert
        assert example.negative
        by_problem.setdefault(example.trajectory.problem.id, []).append(example.degree)
    for degrees in by_problem.values():
        assert np.mean(degrees) == pytest.approx(1)
        assert np.diff(np.log(degrees)) == pytest.approx(0.5)


def test_what_was_not_measured_and_a_problem_with_one_rollout_tell_nothing(rolled):
    first = rolled[0].trajectory.problem.id
    alone = [graded(r, 1.0) for r in rolled if r.trajectory.problem.id == first][:1]
    unmeasured = [graded(r, None) for r in rolled if r.trajectory.problem.id != first]
    assert _graded([*alone, *unmeasured], temperature=1.0) == []
    reward = build("airl", {"experts": "graded"}, policy=build("transformers", {"seed": 0}))
    assert reward.update([], alone) == {"skipped": 1.0}
    assert "batch_by: problem" in reward.why_skipped


def test_the_logit_is_the_gain_over_the_temperature(skilled, rolled):
    distinct = {}
    for rollout in rolled:
        distinct.setdefault(rollout.trajectory.problem.id, {})[rollout.trajectory.text] = rollout
    one = max(distinct.values(), key=len)
    gains = np.linspace(-1.5, 0.0, len(one))
    given = [graded(rollout, float(gain)) for rollout, gain in zip(one.values(), gains, strict=True)]
    config = {"experts": "graded", "grade_temperature": 0.5, "search_score": "l", "learning_rate": 0.01}
    reward = build("airl", config, policy=skilled)
    for _ in range(300):
        reward.update([], given)
    logits = np.array([row[-1] for row in reward.score([rollout.trajectory for rollout in given])])
    assert len(given) > 1
    assert logits - logits.mean() == pytest.approx((gains - gains.mean()) / 0.5, abs=0.5)


def test_graded_experts_go_with_no_other_choice_of_sides():
    for other in ({"negatives": "wrong"}, {"match": "problem"}, {"mask_shared_prefix": True}):
        with pytest.raises(SpecError, match="graded"):
            build("airl", {"experts": "graded", **other}, policy=None)
