"""The value of a prefix: every step's logit against the outcome of its rollout."""

import math

import pytest
import torch

from trellis.nn import StepNet
from trellis.testing.material import Successor, SuccessorConfig, trainable
from trellis.types import Outcome, Rollout
from trellis_outcome.config import OutcomeValueConfig
from trellis_outcome.value import OutcomeValue


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def rolled(task):
    """A correct rollout of two steps and an incorrect one of three."""
    two, three = (next(t for t in task.traces("train") if len(t.steps) == n) for n in (2, 3))
    return [Rollout(two, Outcome(True, 1.0)), Rollout(three, Outcome(False, 0.5))]


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_the_loss_is_the_mean_over_all_steps_of_all_rollouts(loss, rolled):
    policy = trainable()
    net = StepNet(policy.module)
    torch.nn.init.normal_(net.head.weight)
    value, _ = OutcomeValue(OutcomeValueConfig(loss=loss), policy=policy).objective([], rolled)(net)
    logits = net(policy.batch([r.trajectory for r in rolled])).tolist()
    probabilities = [[1 / (1 + math.exp(-logit)) for logit in row] for row in logits]
    right, wrong = probabilities[0][:2], probabilities[1]
    if loss == "bce":
        expected = [-math.log(p) for p in right] + [-math.log(1 - p) for p in wrong]
    else:
        expected = [(1 - p) ** 2 for p in right] + [p**2 for p in wrong]
    assert value.item() == pytest.approx(sum(expected) / 5, rel=1e-4)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_prefixes_that_rollouts_share_get_the_share_of_the_correct(loss, task):
    trace = next(t for t in task.traces("train") if len(t.steps) == 2)
    rolled = [Rollout(trace, Outcome(index < 1, float(index < 1))) for index in range(4)]
    reward = OutcomeValue(OutcomeValueConfig(loss=loss, learning_rate=2e-2), policy=trainable())
    for _ in range(150):
        reward.update([], rolled)
    assert reward.reward([trace]) == [pytest.approx([0.25, 0.25], abs=0.02)]


def test_reinforcement_learning_is_paid_the_probability_of_what_search_gets_the_logit_of(rolled):
    reward = OutcomeValue(OutcomeValueConfig(learning_rate=1e-2), policy=trainable())
    for _ in range(3):
        reward.update([], rolled)
    trajectories = [r.trajectory for r in rolled]
    for logits, values in zip(reward.score(trajectories), reward.reward(trajectories), strict=True):
        assert values == pytest.approx([1 / (1 + math.exp(-logit)) for logit in logits], abs=1e-6)
    assert reward.reward([]) == []


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_it_learns_to_tell_correct_rollouts_from_others(loss, skilled, fitted_auc):
    reward = OutcomeValue(OutcomeValueConfig(loss=loss, learning_rate=1e-2), policy=skilled)
    assert fitted_auc(reward, updates=150) > 0.7
