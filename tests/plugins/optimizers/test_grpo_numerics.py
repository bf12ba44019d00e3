"""GRPO's numerics: normalisation, masking, clipping, KL, credit, and the guard."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from trellis import Problem, RewardModel, Step, Trajectory, build
from trellis.errors import CapabilityError, NumericsError
from trellis.nn import pad
from trellis.testing.material import material, trainable
from trellis_grpo.advantages import outcome_advantages, potential_rewards, process_advantages, token_returns
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO
from trellis_grpo.surrogate import average, importance_weights, kl_terms, surrogate


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


def test_importance_weights_are_the_ratio_to_the_sampler_cut_at_the_cap_and_give_no_gradient():
    log_prob = torch.log(torch.tensor([[0.1, 0.5, 0.9, 0.8]])).requires_grad_()
    sampled = torch.log(torch.tensor([[0.2, 0.5, 0.3, 0.4]]))
    weights = importance_weights(log_prob, sampled, cap=2.5)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 1.0, 2.5, 2.0]]))
    assert not weights.requires_grad


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


def test_the_leave_one_out_baseline_is_the_mean_of_the_others():
    scores = [0.1, 0.9, 0.4, 0.2]
    got = outcome_advantages(scores, group_size=4, baseline="leave-one-out", scale="none")
    others = [r - (sum(scores) - r) / 3 for r in scores]
    torch.testing.assert_close(got, torch.tensor(others))


def test_without_a_scale_a_rare_success_counts_as_its_distance_from_the_mean():
    got = outcome_advantages([1, 0, 0, 0, 1, 1, 1, 1], group_size=4, scale="none")
    assert got.tolist() == [0.75, -0.25, -0.25, -0.25, 0, 0, 0, 0]


def test_clip_high_moves_the_upper_bound_alone():
    log_prob = torch.log(torch.tensor([[1.5, 1.5, 0.5, 0.5]]))
    advantage, mask = torch.tensor([[1.0, -1.0, 1.0, -1.0]]), torch.ones(1, 4, dtype=torch.bool)
    loss, _ = surrogate(log_prob, torch.zeros(1, 4), advantage, mask, clip=0.2, clip_high=0.28)
    torch.testing.assert_close(loss, -torch.tensor([[1.28, -1.5, 0.5, -0.8]]))


AVERAGES = {"tokens": (3 + 3 + 3 + 6) / 4, "sequences": (3 + 6) / 2, "constant": (9 + 6) / (2 * 10)}


@pytest.mark.parametrize("over", AVERAGES)
def test_an_average_weighs_tokens_sequences_or_neither(over):
    values = torch.tensor([[3.0, 3.0, 3.0, 99.0], [99.0, 99.0, 6.0, 99.0]])
    mask = torch.tensor([[True, True, True, False], [False, False, True, False]])
    assert average(values, mask, over=over, max_tokens=10).item() == pytest.approx(AVERAGES[over])


@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6))
def test_the_averages_agree_up_to_the_constant_where_all_sequences_are_as_long(numbers):
    values, mask = torch.tensor(numbers).view(2, 3), torch.ones(2, 3, dtype=torch.bool)
    tokens, sequences = (average(values, mask, over=o, max_tokens=6) for o in ("tokens", "sequences"))
    torch.testing.assert_close(tokens, sequences)
    torch.testing.assert_close(average(values, mask, over="constant", max_tokens=6), tokens / 2)


UNEVEN = torch.tensor([[True, True, True, False], [False, True, True, False]])


def test_the_sequence_ratio_is_the_geometric_mean_of_the_tokens_ratios():
    log_prob = torch.log(torch.tensor([[2.0, 0.5, 8.0, 50.0], [50.0, 3.0, 12.0, 50.0]]))
    advantage = torch.ones(2, 4)
    loss, _ = surrogate(log_prob, torch.zeros(2, 4), advantage, UNEVEN, clip=0.5, clip_high=100.0, ratio="sequence")
    torch.testing.assert_close(-loss[UNEVEN], torch.tensor([2.0, 2.0, 2.0, 6.0, 6.0]))


def test_the_sequence_ratio_gives_the_gradient_of_the_sequences_own_objective():
    """GSPO, equation 5: mean over sequences of s A, with s = (π / π_old)^(1/|y|) and one advantage a sequence."""
    torch.manual_seed(0)
    log_prob, old = (-torch.rand(2, 4)).requires_grad_(), -torch.rand(2, 4)
    advantage_B = torch.tensor([1.5, -0.5])
    loss, _ = surrogate(log_prob, old, advantage_B[:, None].expand(2, 4), UNEVEN, clip=9.0, ratio="sequence")
    (got,) = torch.autograd.grad(average(loss, UNEVEN, over="sequences", max_tokens=4), log_prob)
    s_B = (((log_prob - old) * UNEVEN).sum(1) / UNEVEN.sum(1)).exp()
    (expected,) = torch.autograd.grad(-(s_B * advantage_B).mean(), log_prob)
    torch.testing.assert_close(got, expected)


def test_a_sequence_is_clipped_as_a_whole():
    log_prob = torch.log(torch.tensor([[1.0, 2.0, 1.5, 1.0], [1.0, 2.0, 0.5, 1.0]])).requires_grad_()
    loss, clipped = surrogate(log_prob, torch.zeros(2, 4), torch.ones(2, 4), UNEVEN, clip=0.2, ratio="sequence")
    loss[UNEVEN].sum().backward()
    assert (log_prob.grad[0] == 0).all()
    assert (log_prob.grad[1, 1:3] < 0).all()
    assert clipped.item() == pytest.approx(3 / 5)


def returns(rewards, batch, **options):
    padded = torch.zeros(batch.step_mask_BS.shape)
    for row, values in enumerate(rewards):
        padded[row, : len(values)] = torch.tensor(values)
    return token_returns(padded, batch, **options)


def first_tokens(return_BT, batch):
    return [row[mask][0].item() for row, mask in zip(return_BT, batch.mask_BT, strict=True)]


@given(st.floats(-3, 3), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.floats(0.05, 10))
def test_the_min_form_of_equal_rewards_is_their_mean(reward, lengths, temperature):
    batch = batch_of(trajectory(*lengths), trajectory(1))
    got = returns([[reward] * len(lengths), [reward]], batch, credit="min", temperature=temperature)
    assert first_tokens(got, batch) == pytest.approx([reward, reward], abs=1e-5)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0.05, 10))
def test_the_min_form_lies_between_the_smallest_reward_and_the_mean(rewards, temperature):
    batch = batch_of(trajectory(*(2 for _ in rewards)))
    (got,) = first_tokens(returns([rewards], batch, credit="min", temperature=temperature), batch)
    assert min(rewards) - 1e-4 <= got <= sum(rewards) / len(rewards) + 1e-4


def test_the_min_form_is_the_softmax_weighted_sum_and_what_is_still_to_come_of_it():
    batch = batch_of(trajectory(1, 2, 1), trajectory(1))
    weight = [math.exp(-r / 0.5) for r in (0.4, -0.2, 0.9)]
    own = [w / sum(weight) * r for w, r in zip(weight, (0.4, -0.2, 0.9), strict=True)]
    got = returns([[0.4, -0.2, 0.9], [0.7]], batch, credit="min", temperature=0.5)
    expected = [sum(own), sum(own[1:]), sum(own[1:]), own[2]]
    assert got[0][batch.mask_BT[0]].tolist() == pytest.approx(expected, abs=1e-6)
    assert got[1][batch.mask_BT[1]].tolist() == pytest.approx([0.7])


def test_at_temperature_0_the_worst_step_and_those_before_it_get_the_smallest_reward_and_later_ones_nothing():
    batch = batch_of(trajectory(1, 1, 1, 1))
    got = returns([[0.5, -0.3, 0.8, 0.2]], batch, credit="min", temperature=1e-4)
    assert got[0][batch.mask_BT[0]].tolist() == pytest.approx([-0.3, -0.3, 0, 0], abs=1e-6)


values_of_steps = st.lists(st.floats(-3, 3), min_size=1, max_size=5)


def potentials(rows):
    batch = batch_of(*(trajectory(*(2 for _ in row)) for row in rows))
    padded = torch.zeros(batch.step_mask_BS.shape)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = torch.tensor(values)
    return potential_rewards(padded, batch.step_mask_BS, len(rows)), batch


@given(st.lists(values_of_steps, min_size=3, max_size=3))
def test_potential_rewards_telescope(rows):
    got, batch = potentials(rows)
    start = sum(row[0] for row in rows) / 3
    torch.testing.assert_close(got.sum(1), torch.tensor([row[-1] - start for row in rows]), atol=1e-5, rtol=1e-5)
    assert (got[~batch.step_mask_BS] == 0).all()


@given(st.lists(values_of_steps, min_size=2, max_size=2), values_of_steps)
def test_no_steps_between_change_what_a_trajectory_is_worth_as_a_potential(rows, between):
    """However good the steps written between the first and the last look, their differences add up to the same."""
    padded = [[rows[0][0], *between, *rows[0][1:], rows[0][-1]], rows[1]]

    def worth(group):
        reward_BS, batch = potentials(group)
        return first_tokens(token_returns(reward_BS, batch, credit="sum"), batch)

    assert worth(padded) == pytest.approx(worth(rows), abs=1e-4)


@given(st.lists(steps, min_size=2, max_size=2), st.data())
def test_cutting_a_step_where_its_value_is_still_the_old_one_pays_nothing_as_a_potential(group, data):
    row = data.draw(st.integers(0, 1))
    group = [[(1, 0.0), *r] for r in group]
    index = data.draw(st.integers(1, len(group[row]) - 1))
    length, worth = group[row][index]
    if length == 1:
        return
    cut = [list(r) for r in group]
    cut[row][index : index + 1] = [(1, group[row][index - 1][1]), (length - 1, worth)]

    def advantages(rows):
        batch = batch_of(*(trajectory(*(n for n, _ in r)) for r in rows))
        values = [[w for _, w in r] for r in rows]
        return process_advantages(values, batch, 2, credit="sum", scale="none", form="potential")

    torch.testing.assert_close(advantages(group), advantages(cut), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process_from": 10, "process_until": 10}, "would never count"),
        ({"process_form": "potential"}, "Set 'process_credit: sum'"),
        ({"process_form": "potential", "process_credit": "min"}, "Set 'process_credit: sum'"),
    ],
)
def test_process_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GRPOConfig(**options)


def test_the_variants_named_in_the_config_are_configs_it_takes():
    lines = re.findall(r"^ *- (.+) \(https://arxiv\.org/abs/[\d.]+\):\s+`(\{.+\})`$", GRPOConfig.__doc__, re.M)
    assert [name for name, _ in lines] == ["GRPO", "DAPO", "Dr. GRPO", "GSPO", "RLOO", "PURE"]
    default = GRPOConfig().model_dump()
    for name, text in lines:
        config = GRPOConfig(**YAML(typ="safe").load(text)).model_dump()
        assert config != default, name
