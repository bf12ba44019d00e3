"""The identities of DESIGN's numerics, each failing without what it guards."""

import math
from dataclasses import replace

import pytest
import torch

from trellis import Outcome, Problem, Rollout, SampleRequest, Step, Trajectory
from trellis.errors import NotFittedError, NumericsError
from trellis.testing.material import material, trainable
from trellis_airl.airl import AIRL
from trellis_airl.config import AIRLConfig
from trellis_airl.discriminator import discriminator, loss, shaping


@pytest.fixture
def policy():
    return trainable()


@pytest.fixture
def task():
    return material("task")


def sampled(policy, task, count=6, seed=0):
    roots = [task.start(problem) for problem in task.problems("train")[:count]]
    answers = policy.sample([SampleRequest(root, n=2, max_tokens=24, seed=seed) for root in roots])
    found = [task.extend(root, completion) for root, group in zip(roots, answers, strict=True) for completion in group]
    return [Rollout(trajectory, task.verify(trajectory)) for trajectory in found if trajectory.steps]


@pytest.mark.parametrize("logit", [0.0, 1.0, -3.0, 20.0, -20.0, 1e4, -1e4])
def test_log_d_minus_log_one_minus_d_is_the_logit_in_float32(logit):
    value = torch.tensor(logit, dtype=torch.float32)
    log_d, log_one_minus_d = torch.nn.functional.logsigmoid(value), torch.nn.functional.logsigmoid(-value)
    assert (log_d - log_one_minus_d).item() == pytest.approx(logit, rel=1e-6)


@pytest.mark.parametrize("logit", [0.0, 5.0, -5.0, 1e4, -1e4])
def test_the_loss_is_finite_and_exact_where_d_itself_is_0_or_1(logit):
    value = torch.full((1,), logit, requires_grad=True)
    bce = loss(value, expert_weight=torch.ones(1), negative_weight=torch.ones(1))
    bce.backward()
    expected = (max(-logit, 0) + math.log1p(math.exp(-abs(logit)))) + (
        max(logit, 0) + math.log1p(math.exp(-abs(logit)))
    )
    assert bce.item() == pytest.approx(expected, rel=1e-6)
    assert torch.isfinite(value.grad).all()
    through_d = torch.log(torch.sigmoid(torch.tensor(-1e4)))
    assert not torch.isfinite(through_d), "the way through D would not have survived this"


@pytest.mark.parametrize("form", ["policy-skip", "scalar-head", "shaped", "lm-density"])
def test_f_is_the_logit_plus_log_pi_in_every_form_of_airl(form, policy, task):
    net = discriminator(form, policy.module, gamma=0.9)
    disturb(net)
    batch = policy.batch([rollout.trajectory for rollout in sampled(policy, task)])
    log_pi = torch.linspace(-9, -0.1, batch.step_mask_BS.numel()).view(batch.step_mask_BS.shape) * batch.step_mask_BS
    judged = net(batch, log_pi)
    mask = batch.step_mask_BS
    torch.testing.assert_close((judged.f_BS - judged.logit_BS)[mask], log_pi[mask])
    d = judged.f_BS.double().exp() / (judged.f_BS.double().exp() + log_pi.double().exp())
    torch.testing.assert_close(d[mask], judged.logit_BS.double().sigmoid()[mask])


def test_the_density_of_the_untrained_form_is_the_policys_own(policy, task):
    """q begins as a copy of π, so l = log q - log π is 0 everywhere, and f sums the tokens of each step."""
    trajectories = policy.log_probs([rollout.trajectory for rollout in sampled(policy, task)])
    batch = policy.batch(trajectories)
    judged = discriminator("lm-density", policy.module)(batch, log_pi_of(batch))
    torch.testing.assert_close(judged.logit_BS, torch.zeros_like(judged.logit_BS), atol=1e-5, rtol=0)
    torch.testing.assert_close(judged.f_BS, log_pi_of(batch), atol=1e-5, rtol=1e-5)


def test_gail_knows_no_log_pi_and_pays_minus_log_one_minus_d(policy, task):
    rollouts = sampled(policy, task)
    reward = AIRL(AIRLConfig(form="gail", rl_reward="softplus", search_score="l", reward_clip=100), policy=policy)
    reward.update(task.traces("train"), rollouts)
    trajectories = [rollout.trajectory for rollout in rollouts]
    logits = torch.tensor([value for row in reward.score(trajectories) for value in row])
    paid = torch.tensor([value for row in reward.reward(trajectories) for value in row])
    torch.testing.assert_close(paid, -torch.log1p(-logits.sigmoid()), atol=1e-5, rtol=1e-4)
    without = [
        replace(t, steps=tuple(replace(s, log_probs=tuple(-9.0 for _ in s.log_probs)) for s in t.steps))
        for t in trajectories
    ]
    assert reward.score(without) == reward.score(trajectories)


def test_the_shaped_form_offers_g_and_others_refuse_it(policy, task):
    rollouts = sampled(policy, task)
    reward = AIRL(AIRLConfig(form="shaped", search_score="g", learning_rate=1e-2), policy=policy)
    for _ in range(3):
        reward.update(task.traces("train"), rollouts)
    trajectories = policy.log_probs([rollout.trajectory for rollout in rollouts])
    batch = policy.batch(trajectories)
    with torch.no_grad():
        value_BT2 = reward.net.net.at_tokens(batch)
    g_BS = value_BT2[..., 0].gather(1, batch.last_BS)
    for got, wanted in zip(reward.score(trajectories), batch.per_step(g_BS), strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(ValueError, match="there is a g in the form 'shaped' only, not in 'gail'"):
        AIRLConfig(form="gail", rl_reward="g")


def disturb(net):
    """Give a network that starts at zero something to say."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))


def log_pi_of(batch):
    log_pi = torch.zeros(batch.step_mask_BS.shape)
    for row, trajectory in enumerate(batch.trajectories):
        log_pi[row, : len(trajectory.steps)] = torch.tensor([step.log_prob for step in trajectory.steps])
    return log_pi


def test_the_policy_skip_logit_does_not_depend_on_log_pi_and_a_scalar_heads_does(policy, task):
    batch = policy.batch([rollout.trajectory for rollout in sampled(policy, task)])
    near, far = -torch.ones(batch.step_mask_BS.shape), -5 * torch.ones(batch.step_mask_BS.shape)
    skip, scalar = (discriminator(form, policy.module) for form in ("policy-skip", "scalar-head"))
    torch.testing.assert_close(skip(batch, near).logit_BS, skip(batch, far).logit_BS)
    assert not torch.allclose(scalar(batch, near).logit_BS, scalar(batch, far).logit_BS)


def test_no_gradient_reaches_log_pi_or_the_policy(policy, task):
    net = discriminator("scalar-head", policy.module)
    batch = policy.batch([rollout.trajectory for rollout in sampled(policy, task)])
    log_pi = torch.zeros(batch.step_mask_BS.shape, requires_grad=True)
    net(batch, log_pi).logit_BS.sum().backward()
    assert log_pi.grad is None
    assert all(parameter.grad is None for parameter in policy.module.parameters())
    assert any(parameter.grad is not None for parameter in net.parameters())


def test_shaping_telescopes_because_the_terminal_potential_is_0(policy, task):
    traces = task.traces("train")[:4]
    batch = policy.batch(traces)
    potential = torch.randn(batch.ids_BT.shape)
    total = shaping(potential, batch, gamma=1.0).sum(1)
    first = (batch.mask_BT.int().argmax(1) - 1).clamp(min=0)
    torch.testing.assert_close(total, -potential.gather(1, first[:, None])[:, 0])


def test_shaping_of_an_unfinished_trajectory_keeps_its_last_potential(policy, task):
    trace = task.traces("train")[0]
    open_ = replace(trace, steps=trace.steps[:1], finished=False)
    batch = policy.batch([open_])
    potential = torch.randn(batch.ids_BT.shape)
    first = int(batch.mask_BT.int().argmax(1)) - 1
    expected = 0.5 * potential[0, batch.last_BS[0, 0]] - potential[0, first]
    torch.testing.assert_close(shaping(potential, batch, gamma=0.5)[0, 0], expected)


def test_experts_and_policy_that_write_the_same_cannot_be_told_apart(policy, task):
    """The same texts, once as given traces and once as the policy's samples, must encode to the same tokens."""
    rollouts = [r for r in sampled(policy, task, count=len(task.problems("train"))) if r.trajectory.finished]
    assert rollouts
    as_traces = [replace(r.trajectory, steps=tuple(Step(step.text) for step in r.trajectory.steps)) for r in rollouts]
    given, own = policy.batch(as_traces), policy.batch([r.trajectory for r in rollouts])
    torch.testing.assert_close(given.ids_BT, own.ids_BT)
    torch.testing.assert_close(given.step_BT, own.step_BT)
    reward = AIRL(AIRLConfig(learning_rate=1e-2), policy=policy)
    for _ in range(20):
        metrics = reward.update(as_traces, rollouts)
    assert metrics["loss"] == pytest.approx(2 * math.log(2), abs=0.02)
    assert metrics["expert_logit"] == pytest.approx(metrics["policy_logit"], abs=1e-5)


def test_it_learns_to_tell_expert_steps_from_the_policys(policy, task):
    traces = task.traces("train")
    rollouts = sampled(policy, task, count=len(task.problems("train")))
    reward = AIRL(AIRLConfig(learning_rate=1e-2), policy=policy)
    first = reward.update(traces, rollouts)["loss"]
    for _ in range(40):
        last = reward.update(traces, rollouts)["loss"]
    assert first == pytest.approx(2 * math.log(2), abs=1e-4), "a head of zeros knows nothing"
    assert last < 0.8 * first
    expert = [row[-1] for row in reward.reward(traces)]
    own = [row[-1] for row in reward.reward([r.trajectory for r in rollouts])]
    assert sum(expert) / len(expert) > sum(own) / len(own)


def test_search_gets_f_with_log_pi_of_the_prefix_and_rl_gets_the_clipped_logit(policy, task):
    rollouts = sampled(policy, task)
    trajectories = [r.trajectory for r in rollouts]
    reward = AIRL(AIRLConfig(learning_rate=1e-2, log_pi_weight=0.5, reward_clip=0.01), policy=policy)
    for _ in range(5):
        reward.update(task.traces("train"), rollouts)
    logits = AIRL(AIRLConfig(search_score="l"), policy=policy)
    logits._trained = reward._trained
    for t, f, logit in zip(trajectories, reward.score(trajectories), logits.score(trajectories), strict=True):
        prefix = 0.0
        for step, f_k, l_k in zip(t.steps, f, logit, strict=True):
            prefix += step.log_prob
            assert f_k == pytest.approx(l_k + 0.5 * prefix, abs=1e-4)
    paid = [value for row in reward.reward(trajectories) for value in row]
    assert max(map(abs, paid)) <= 0.01 + 1e-7


def test_a_trace_without_log_probs_is_scored_under_the_present_policy(policy, task):
    trace = task.traces("train")[0]
    reward = AIRL(AIRLConfig(), policy=policy)
    reward.update(task.traces("train"), sampled(policy, task))
    (before,) = reward.score([trace])
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.mul_(1.5)
    (after,) = reward.score([trace])
    assert before != after, "log π must be the live policy's"


def test_using_it_before_it_learned_says_what_to_do(policy, task):
    with pytest.raises(NotFittedError, match="fit-reward"):
        AIRL(AIRLConfig(), policy=policy).score(task.traces("train"))


def test_problems_without_traces_are_left_out_and_a_task_without_any_is_named(policy, task):
    reward = AIRL(AIRLConfig(), policy=policy)
    assert reward.update([], sampled(policy, task)) == {"skipped": 1.0}
    with pytest.raises(NotFittedError, match="in 1 updates the task had no trace"):
        reward.score(task.traces("train"))
    assert reward.update(task.traces("train"), sampled(policy, task))["skipped"] == 0.0


def test_the_learning_rate_ends_where_it_should_whatever_the_updates_per_round(policy, task):
    reward = AIRL(AIRLConfig(updates_per_round=2, learning_rate=1e-3, final_fraction=0.1), policy=policy)
    reward.reset(seed=0, num_updates=3)
    rates = []
    for _ in range(4):
        reward.update(task.traces("train"), sampled(policy, task))
        rates.append(reward._trained[1].param_groups[0]["lr"])
    assert rates == pytest.approx([0.82e-3, 0.46e-3, 1e-4, 1e-4])


@pytest.mark.parametrize("form", ["scalar-head", "shaped"])
def test_search_gets_the_nets_own_f_from_the_forms_that_give_it(form, policy, task):
    rollouts = sampled(policy, task)
    reward = AIRL(AIRLConfig(form=form), policy=policy)
    reward.update(task.traces("train"), rollouts)
    trajectories = policy.log_probs([r.trajectory for r in rollouts])
    batch = policy.batch(trajectories)
    log_pi = log_pi_of(batch)
    with torch.no_grad():
        expected = batch.per_step(reward.net(batch, log_pi).f_BS)
    for got, wanted in zip(reward.score(trajectories), expected, strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)


def test_rollouts_without_a_correct_one_are_left_out_and_said_so(policy):
    reward = AIRL(AIRLConfig(experts="rollouts"), policy=policy)
    wrong = Rollout(Trajectory(Problem("p", "1"), "1\n", (Step("2"),), finished=True), Outcome(False, 0.0))
    assert reward.update([], [wrong]) == {"skipped": 1.0}


def test_a_nan_stops_before_anything_is_updated_and_names_the_problems(policy, task):
    rollouts = sampled(policy, task)
    reward = AIRL(AIRLConfig(), policy=policy)
    reward.update(task.traces("train"), rollouts)
    net = reward.net.net
    with torch.no_grad():
        net.head.bias.fill_(float("nan"))
    before = net.head.weight.clone()
    with pytest.raises(NumericsError, match="is not finite at step 2") as error:
        reward.update(task.traces("train"), rollouts)
    assert rollouts[0].trajectory.problem.id in error.value.problems
    torch.testing.assert_close(net.head.weight, before)
