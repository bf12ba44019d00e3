"""The outcome reward model: the last step's logit against the outcome, and nothing else."""

import math
from dataclasses import replace

import pytest
import torch

from trellis.errors import NotFittedError
from trellis.nn import StepNet
from trellis.testing.material import Successor, SuccessorConfig, trainable
from trellis.types import Outcome, Rollout
from trellis_outcome.config import ORMConfig
from trellis_outcome.orm import ORM, at_last_step


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def rolled(task):
    """A correct rollout of two steps, an incorrect one of three, and one that was cut."""
    two, three = (next(t for t in task.traces("train") if len(t.steps) == n) for n in (2, 3))
    cut = replace(two, steps=two.steps[:1], finished=False, cut=True)
    return [Rollout(two, Outcome(True, 1.0)), Rollout(three, Outcome(False, 0.5)), Rollout(cut, task.verify(cut))]


def random_net(policy):
    net = StepNet(policy.module)
    torch.nn.init.normal_(net.head.weight)
    return net


def test_the_loss_is_the_cross_entropy_at_the_last_step_of_each_rollout(rolled):
    policy = trainable()
    net = random_net(policy)
    loss, metrics = ORM(ORMConfig(), policy=policy).objective([], rolled)(net)
    logits = net(policy.batch([r.trajectory for r in rolled])).tolist()
    last = [logits[0][1], logits[1][2], logits[2][0]]
    expected = [math.log1p(math.exp(-last[0])), math.log1p(math.exp(last[1])), math.log1p(math.exp(last[2]))]
    assert loss.item() == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert metrics["label_mean"].item() == pytest.approx(1 / 3)
    assert metrics["accuracy"].item() == pytest.approx(((last[0] > 0) + (last[1] <= 0) + (last[2] <= 0)) / 3)


def test_no_gradient_comes_from_any_other_step(rolled):
    batch = trainable().batch([r.trajectory for r in rolled])
    values = torch.randn(batch.step_mask_BS.shape, requires_grad=True)
    at_last_step(values, batch).sum().backward()
    assert values.grad.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_it_is_read_at_every_step_as_the_logit(rolled, task):
    policy = trainable()
    reward = ORM(ORMConfig(learning_rate=1e-2), policy=policy)
    reward.update([], rolled)
    trajectories = [r.trajectory for r in rolled]
    batch = policy.batch(trajectories)
    with torch.no_grad():
        logits = reward.net(batch)
    assert reward.score(trajectories) == batch.per_step(logits)
    for paid, expected in zip(reward.reward(trajectories), batch.per_step(logits.sigmoid()), strict=True):
        assert paid == pytest.approx(expected, abs=1e-6)


def test_equal_outcomes_can_be_learned_from_too(rolled):
    reward = ORM(ORMConfig(learning_rate=1e-2), policy=trainable())
    for _ in range(20):
        metrics = reward.update([], rolled[1:])
    assert metrics["skipped"] == 0.0
    assert metrics["loss"] < math.log(2)


def test_a_policy_that_writes_no_step_is_named(task):
    reward = ORM(ORMConfig(), policy=trainable())
    root = task.start(task.problems("train")[0])
    assert reward.update([], [Rollout(root, task.verify(root))]) == {"skipped": 1.0}
    with pytest.raises(
        NotFittedError, match=r"ORM has not learned anything: in 1 updates no rollout had a step: .*longer context"
    ):
        reward.score([root])


def test_it_learns_to_tell_correct_rollouts_from_others(skilled, fitted_auc):
    assert fitted_auc(ORM(ORMConfig(learning_rate=1e-2), policy=skilled), updates=150) > 0.7
