"""GRPO's numerics: normalisation, masking, clipping, KL, credit, and the guard."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trellis import Problem, RewardModel, Step, Trajectory, build
from trellis.errors import CapabilityError, NumericsError
from trellis.nn import pad
from trellis.testing.material import material, trainable
from trellis_grpo.advantages import outcome_advantages, process_advantages
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO, kl_estimate, surrogate


def trajectory(*lengths: int) -> Trajectory:
    """A trajectory whose steps hold so many tokens each."""
    steps = tuple(Step("x" * n, (1,) * n, (-1.0,) * n) for n in lengths)
    return Trajectory(Problem("p", "p"), "p\n", steps, finished=True)


def batch_of(*trajectories: Trajectory):
    return pad([(2, 3)] * len(trajectories), trajectories, pad_id=0, device="cpu")


def test_outcome_advantages_are_normalised_within_each_group():
    got = outcome_advantages([1, 0, 0, 0, 1, 1, 1, 0], group_size=4).view(2, 4)
    torch.testing.assert_close(got.mean(1), torch.zeros(2))
    torch.testing.assert_close(got.std(1, correction=0), torch.ones(2))
    assert got[0, 0] == pytest.approx(math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_a_group_without_variance_counts_for_nothing(value):
    got = outcome_advantages([value] * 4 + [1, 0, 1, 0], group_size=4)
    assert got[:4].tolist() == [0, 0, 0, 0]
    assert got[4:].abs().min() > 0.9


def test_the_surrogate_clips_each_token_on_the_side_that_would_gain():
    old = torch.zeros(1, 4)
    log_prob = torch.log(torch.tensor([[1.5, 1.5, 0.5, 0.5]]))
    advantage = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    loss, clipped = surrogate(log_prob, old, advantage, mask, clip=0.2)
    torch.testing.assert_close(loss, -torch.tensor([[1.2, -1.5, 0.5, -0.8]]))
    assert clipped.item() == pytest.approx(0.5)


def test_a_clipped_token_gives_no_gradient_and_a_masked_one_neither():
    log_prob = torch.log(torch.tensor([[1.5, 1.1, 1.1]])).requires_grad_()
    mask = torch.tensor([[True, True, False]])
    loss, _ = surrogate(log_prob, torch.zeros(1, 3), torch.ones(1, 3), mask, clip=0.2)
    average(loss, mask, over="tokens", max_tokens=3).backward()
    assert log_prob.grad[0, 0] == 0
    assert log_prob.grad[0, 1] < 0
    assert log_prob.grad[0, 2] == 0


def test_the_kl_estimate_is_0_at_equality_positive_elsewhere_and_right_on_average():
    torch.manual_seed(0)
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    draws = torch.multinomial(p, 200_000, replacement=True)[None]
    log_p, log_q = p.log()[draws], q.log()[draws]
    assert (kl_terms(log_p, log_p) == 0).all()
    assert (kl_terms(log_p, log_q) >= 0).all()
    exact = (p * (p / q).log()).sum().item()
    assert kl_terms(log_p, log_q).mean().item() == pytest.approx(exact, rel=0.02)


def test_normalise_then_sum_keeps_a_large_process_scale_from_deciding():
    """Multiplying all process rewards by 1000 leaves the summed advantages as they are."""
    batch = batch_of(trajectory(2, 2), trajectory(2, 2))
    outcome = outcome_advantages([1.0, 0.0], group_size=2)[:, None] * batch.mask_BT

    def summed(scale):
        paid = [[scale * 0.2, scale * 0.1], [scale * 0.9, scale * 0.8]]
        return outcome + 0.5 * process_advantages(paid, batch, 2, credit="mean", scale="std")

    torch.testing.assert_close(summed(1.0), summed(1000.0))
    assert (summed(1000.0)[0, 2:] > 0).all(), "the outcome still decides"


steps = st.lists(st.tuples(st.integers(1, 4), st.floats(-3, 3)), min_size=1, max_size=5)


@given(st.lists(steps, min_size=2, max_size=2), st.data())
def test_cutting_a_step_in_two_pays_nothing(group, data):
    """The separator trick: the same tokens and the same worth, written as more steps."""
    row = data.draw(st.integers(0, 1))
    index = data.draw(st.integers(0, len(group[row]) - 1))
    length, worth = group[row][index]
    cut = [list(r) for r in group]
    if length == 1:
        return
    cut[row][index : index + 1] = [(1, worth), (length - 1, worth)]

    def advantages(rows):
        batch = batch_of(*(trajectory(*(n for n, _ in r)) for r in rows))
        return process_advantages([[w for _, w in r] for r in rows], batch, 2, credit="mean", scale="none")

    torch.testing.assert_close(advantages(group), advantages(cut))


def test_the_sum_credit_would_pay_for_cutting_steps():
    """What the default credit guards against: with sums, twice the steps is twice the reward."""
    whole, cut = batch_of(trajectory(4), trajectory(4)), batch_of(trajectory(2, 2), trajectory(4))
    before = process_advantages([[1.0], [1.0]], whole, 2, credit="sum", scale="none")
    after = process_advantages([[1.0, 1.0], [1.0]], cut, 2, credit="sum", scale="none")
    assert before.abs().max() == 0
    assert after[0].sum() > 0


@given(st.lists(steps, min_size=4, max_size=4), st.sampled_from(["mean", "sum"]))
def test_the_baseline_is_per_token_so_a_group_gains_nothing_as_a_whole(group, credit):
    """A longer or a shorter rollout is not favoured for its length: advantages sum to 0 over each group's tokens."""
    batch = batch_of(*(trajectory(*(n for n, _ in row)) for row in group))
    got = process_advantages([[w for _, w in row] for row in group], batch, 2, credit=credit, scale="none")
    assert got.view(2, -1).sum(1).abs().max() < 1e-3
    assert (got[~batch.mask_BT] == 0).all()


def test_constant_rewards_pay_nothing_whatever_the_number_of_steps():
    batch = batch_of(trajectory(2), trajectory(1, 1, 1, 1, 3))
    got = process_advantages([[0.7], [0.7] * 5], batch, 2, credit="mean", scale="none")
    assert got.abs().max() < 1e-6


class Poisoned(RewardModel):
    def score(self, trajectories):
        return [[math.nan] * len(t.steps) for t in trajectories]


def test_a_nan_reward_stops_the_run_with_the_problems_named_and_the_weights_kept():
    policy, task = trainable(), material("task")
    before = {name: value.clone() for name, value in policy.module.state_dict().items()}
    config = GRPOConfig(steps=2, problems_per_step=2, group_size=2, max_tokens=8, process_weight=1.0, process_from=0)
    with pytest.raises(NumericsError, match="the loss is not finite at step 1") as error:
        list(GRPO(config).train(policy=policy, task=task, reward=Poisoned()))
    assert set(error.value.problems) <= {problem.id for problem in task.problems("train")}
    for name, value in policy.module.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_process_weight_without_a_reward_says_so_before_training():
    with pytest.raises(CapabilityError, match="process_weight"):
        next(GRPO(GRPOConfig(process_weight=0.5)).train(policy=trainable(), task=material("task")))


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_an_optimizer_that_serves_two_stages_trains_in_both(name):
    policy, task = trainable(), material("task")
    optimizer = build(name, {"steps": 2, **({"problems_per_step": 2, "max_tokens": 8} if name == "grpo" else {})})
    for _ in range(2):
        assert [step.step for step in optimizer.train(policy=policy, task=task)] == [1, 2]


def test_half_precision_weights_are_refused_before_a_step_is_lost():
    policy = trainable()
    policy.module.to(torch.bfloat16)
    with pytest.raises(CapabilityError, match=r"bfloat16.*dtype: float32"):
        next(build("sft", {"steps": 1}).train(policy=policy, task=material("task")))


def test_a_config_that_would_learn_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing would be learned"):
        GRPOConfig(outcome_weight=0.0, process_weight=0.0)
