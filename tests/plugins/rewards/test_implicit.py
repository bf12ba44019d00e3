"""The implicit process reward: log-ratios of two language models."""

import pytest
import torch

from trellis.testing.material import Successor, SuccessorConfig, trainable
from trellis.testing.material.episodes import rollouts
from trellis_prm.config import ImplicitConfig
from trellis_prm.implicit import ImplicitPRM, LogRatio
from trellis_transformers.config import TransformersConfig
from trellis_transformers.policy import TransformersPolicy

DROPOUT = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 64}


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def policy():
    return trainable()


def implicit(policy, **options) -> ImplicitPRM:
    return ImplicitPRM(ImplicitConfig(**{"learning_rate": 1e-2, "beta": 0.5, **options}), policy=policy)


def trained(policy, task, **options) -> ImplicitPRM:
    reward = implicit(policy, **options)
    for _ in range(5):
        reward.update([], rollouts(task, policy))
    return reward


def test_before_the_first_update_every_token_is_worth_nothing(policy, task):
    net = LogRatio(policy.module, beta=0.5)
    assert not net(policy.batch(task.traces("train"))).any()


def test_a_steps_reward_is_beta_times_the_log_ratio_of_the_step_and_a_score_that_of_the_prefix(policy, task):
    traces = policy.log_probs(task.traces("train")[:8])
    reward = trained(policy, task)
    before = [step.log_prob for trace in traces for step in trace.steps]
    policy.module.load_state_dict(reward.net.phi.state_dict())
    after = [step.log_prob for trace in policy.log_probs(traces) for step in trace.steps]
    paid = reward.reward(traces)
    assert [q for row in paid for q in row] == pytest.approx(
        [0.5 * (b - a) for a, b in zip(before, after, strict=True)], abs=1e-5
    )
    for scores, row in zip(reward.score(traces), paid, strict=True):
        assert scores == pytest.approx([sum(row[: k + 1]) for k in range(len(row))], abs=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_whole_rollouts_sum(policy, task):
    reward = trained(policy, task)
    rolled = [r for r in rollouts(task, policy) if r.trajectory.steps]
    loss, _ = reward.objective([], rolled)(reward.net)
    totals = torch.tensor([row[-1] for row in reward.score([r.trajectory for r in rolled])])
    signs = torch.tensor([1.0 if r.outcome.correct else -1.0 for r in rolled])
    torch.testing.assert_close(loss, -torch.nn.functional.logsigmoid(signs * totals).mean())


def test_the_reference_stays_what_the_policy_was_and_is_neither_trained_nor_drawn_from(task):
    policy = TransformersPolicy(TransformersConfig(init=DROPOUT, seed=4, device="cpu"))
    first = {name: value.clone() for name, value in policy.module.state_dict().items()}
    reward = trained(policy, task)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.mul_(1.5)
    net = reward.net
    assert all(first[name].equal(value) for name, value in net.ref.state_dict().items())
    assert any(not first[name].equal(value) for name, value in net.phi.state_dict().items())
    net.train()
    assert net.phi.training
    assert not any(module.training for module in net.ref.modules())


def test_the_reference_is_in_the_checkpoint_whatever_the_policy_has_become(policy, task, tmp_path):
    reward = trained(policy, task, average=0.5)
    traces = task.traces("train")[:5]
    expected = reward.score(traces)
    reward.save(tmp_path)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.mul_(1.5)
    other = implicit(policy, average=0.5)
    other.load(tmp_path)
    assert other.score(traces) == expected


def test_it_learns_to_tell_correct_rollouts_from_others(skilled, fitted_auc):
    assert fitted_auc(implicit(skilled), updates=150) > 0.7
