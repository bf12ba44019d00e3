"""Whom AIRL's discriminator tells from whom: experts, negatives, hard negatives, replay, matching, shared prefixes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import Outcome, Problem, Rollout, SampleRequest, Step, Trajectory, build
from trellis.errors import CapabilityError
from trellis.testing.material import material, trainable
from trellis.testing.material.episodes import rollouts, traces_for
from trellis_airl.airl import AIRL, _Example, _first_differences
from trellis_airl.config import AIRLConfig, HardNegativesConfig
from trellis_airl.discriminator import loss
from trellis_airl.hard_negatives import HardNegatives

weights = st.sampled_from([0.0, 0.25, 1.0, 3.0])
FEW = {"numbers": 3, "train_size": 30, "validation_size": 5, "test_size": 5}


@pytest.fixture(scope="module")
def countdown():
    return build("countdown", FEW)


@pytest.fixture(scope="module")
def policy():
    init = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 128}
    tokenizer = {"words": [" + ", " - ", " = ", " | left: ", " -> "], "numbers": 64}
    return build("transformers", {"init": init, "tokenizer": tokenizer, "device": "cpu", "seed": 1})


def sampled(policy, task, *, n=4, count=8):
    roots = [task.start(problem) for problem in task.problems("train")[:count]]
    answers = policy.sample([SampleRequest(root, n=n, max_tokens=24, seed=3) for root in roots])
    found = [task.extend(root, completion) for root, row in zip(roots, answers, strict=True) for completion in row]
    return [Rollout(t, task.verify(t), step=index % 2) for index, t in enumerate(found)]


def rollout(problem: str, *steps: str, correct: bool, step: int = 0) -> Rollout:
    known = Problem(problem, problem)
    trajectory = Trajectory(known, problem + "\n", tuple(map(Step, steps)), finished=True)
    return Rollout(trajectory, Outcome(correct, float(correct)), step=step)


def test_a_hard_negative_is_a_trace_up_to_one_step_and_then_another_legal_one(countdown, policy):
    hard = HardNegatives(HardNegativesConfig(share=0.5, max_tokens=30), task=countdown, policy=policy)
    traces = countdown.traces("train")
    made = hard.of(traces, update=0, seed=0)
    assert len(made) == len(traces)
    for trace, negative in zip(traces, made, strict=True):
        steps, k = negative.trajectory.steps, negative.num_shared
        assert [step.text for step in steps[:k]] == [step.text for step in trace.steps[:k]]
        prefix = replace(trace, steps=trace.steps[:k], finished=False, answer=None)
        assert steps[k].text != trace.steps[k].text
        assert steps[k].text in countdown.legal_steps(prefix)
        assert not negative.trajectory.open
    assert {negative.num_shared for negative in made} == {0, 1}


def test_hard_negatives_are_kept_until_they_are_due_and_depend_on_the_seed_alone(countdown, policy):
    traces = countdown.traces("train")[:10]

    def maker(**config):
        return HardNegatives(HardNegativesConfig(share=0.5, max_tokens=30, **config), task=countdown, policy=policy)

    kept, refreshed = maker(), maker(refresh=3)
    first = kept.of(traces, update=0, seed=0)
    assert kept.of(traces, update=100, seed=0) == first
    assert refreshed.of(traces, update=0, seed=0) == first
    assert refreshed.of(traces, update=2, seed=0) == first
    assert refreshed.of(traces, update=3, seed=0) != first
    assert maker().of(list(reversed(traces)), update=0, seed=0) == list(reversed(first))
    assert maker().of(traces, update=0, seed=1) != first


def test_airl_with_hard_negatives_goes_on_after_loading_with_the_same_numbers(countdown, policy, tmp_path):
    def made():
        config = AIRLConfig(hard_negatives=HardNegativesConfig(share=0.5, max_tokens=30), replay=20)
        return AIRL(config, policy=policy, task=countdown)

    own = sampled(policy, countdown)
    ids = {rollout.trajectory.problem.id for rollout in own}
    traces = [trace for trace in countdown.traces("train") if trace.problem.id in ids]
    whole, resumed = made(), made()
    for _ in range(2):
        whole.update(traces, own)
    whole.save(tmp_path)
    resumed.load(tmp_path)
    for _ in range(2):
        assert whole.update(traces, own) == resumed.update(traces, own)
    assert whole.score(traces) == resumed.score(traces)


def test_hard_negatives_without_a_task_are_refused(policy):
    with pytest.raises(CapabilityError, match="task to make hard negatives of"):
        AIRL(AIRLConfig(hard_negatives=HardNegativesConfig(share=0.5)), policy=policy)


def test_a_hard_negative_counts_from_its_replaced_step_on(countdown, policy):
    reward = AIRL(
        AIRLConfig(hard_negatives=HardNegativesConfig(share=1.0, max_tokens=30)), policy=policy, task=countdown
    )
    traces = countdown.traces("train")[:12]
    own = [rollout(trace.problem.id, "1 + 1 = 2", correct=False) for trace in traces]
    examples = reward._examples(traces, own, np.random.default_rng(0))
    assert [e.expert for e in examples] == [True] * 12 + [False] * 12
    assert {e.first for e in examples if e.negative} == {0, 1}
    batch = policy.batch([e.trajectory for e in examples])
    counts = reward._after_first(examples, batch)
    for row, example in enumerate(examples):
        assert counts[row].tolist() == [k >= example.first for k in range(batch.step_mask_BS.shape[1])]


def test_given_experts_of_another_task_stand_in_for_the_traces(countdown, policy):
    other = build("countdown", {**FEW, "style": "canonical"})
    reward = AIRL(AIRLConfig(), policy=policy, experts=other)
    own = sampled(policy, countdown)
    examples = reward._examples((), own, np.random.default_rng(0))
    ids = {r.trajectory.problem.id for r in own}
    wanted = {trace.text for trace in other.traces("train") if trace.problem.id in ids}
    assert {e.trajectory.text for e in examples if e.expert} == wanted
    assert reward.update((), own)["skipped"] == 0.0


def test_experts_are_never_more_than_the_rollouts(countdown, policy):
    many = build("countdown", {**FEW, "traces_per_problem": 4})
    reward = AIRL(AIRLConfig(), policy=policy)
    own = sampled(policy, countdown, n=1)
    traces = [t for t in many.traces("train") if t.problem.id in {r.trajectory.problem.id for r in own}]
    assert len(traces) > len(own)
    examples = reward._examples(traces, own, np.random.default_rng(0))
    assert sum(e.expert for e in examples) == len(own)


@pytest.mark.parametrize(("negatives", "both"), [("all", True), ("wrong", False)])
def test_correct_rollouts_are_negatives_too_unless_only_wrong_ones_are(negatives, both, policy):
    reward = AIRL(AIRLConfig(experts="rollouts", negatives=negatives), policy=policy)
    own = [rollout("a", "x", correct=True), rollout("a", "y", correct=False)]
    examples = reward._examples((), own, np.random.default_rng(0))
    assert len(examples) == 2
    by_text = {e.trajectory.text: (e.expert, e.negative) for e in examples}
    assert by_text == {"x": (True, both), "y": (False, True)}


def test_replay_adds_as_many_old_rollouts_as_there_are_new_ones(policy):
    reward = AIRL(AIRLConfig(experts="rollouts", replay=3), policy=policy)
    rng = np.random.default_rng(0)
    first, second = ([rollout(f"{name}{i}", "x", correct=True) for i in range(2)] for name in "ab")
    assert reward._with_replay(first, rng) == first
    again = reward._with_replay(second, rng)
    assert again[:2] == second
    assert sorted(r.trajectory.problem.id for r in again[2:]) == ["a0", "a1"]
    assert [r.trajectory.problem.id for r in reward._replay] == ["a1", "b0", "b1"]
    reward.reset(seed=0)
    assert reward._with_replay(first, rng) == first


@pytest.mark.parametrize("match", ["problem", "age"])
def test_matching_gives_each_group_the_same_share_on_both_sides(match, policy):
    reward = AIRL(AIRLConfig(experts="rollouts", match=match), policy=policy)
    own = [rollout("a", f"x{i}", correct=i < 3, step=0) for i in range(4)]
    own += [rollout("b", f"y{i}", correct=i < 1, step=5) for i in range(4)]
    examples = reward._examples((), own, np.random.default_rng(0))
    expert, negative = reward._weights(examples, torch.device("cpu"))
    a = torch.tensor([e.trajectory.problem.id == "a" for e in examples])
    assert float(expert[a].sum() / expert.sum()) == pytest.approx(float(negative[a].sum() / negative.sum()))
    unmatched, _ = AIRL(AIRLConfig(experts="rollouts"), policy=policy)._weights(examples, torch.device("cpu"))
    assert float(unmatched[a].sum() / unmatched.sum()) == pytest.approx(0.75)


def test_matching_what_has_no_groups_in_common_leaves_the_weights(policy):
    reward = AIRL(AIRLConfig(experts="rollouts", match="age"), policy=policy)
    examples = [
        _Example(rollout("a", "x", correct=True).trajectory, True, False),
        _Example(rollout("a", "y", correct=False).trajectory, False, True, age=3),
    ]
    expert, negative = reward._weights(examples, torch.device("cpu"))
    assert (expert.tolist(), negative.tolist()) == ([1.0, 0.0], [0.0, 1.0])


def test_what_an_expert_and_a_negative_begin_with_alike_does_not_count():
    def example(*steps, expert, problem="a"):
        return _Example(rollout(problem, *steps, correct=expert).trajectory, expert, not expert)

    examples = [
        example("1\n", "2\n", "3", expert=True),
        example("1\n", "2\n", "4", expert=False),
        example("1\n", "5", expert=False),
        example("1\n", "2\n", "3", expert=True, problem="b"),
    ]
    assert [e.first for e in _first_differences(examples)] == [2, 2, 1, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 50), weights, weights), min_size=1, max_size=12))
def test_the_loss_is_the_sum_of_two_weighted_means(rows):
    logit, expert, negative = (torch.tensor(values, dtype=torch.float64) for values in zip(*rows, strict=True))
    log_d = torch.nn.functional.logsigmoid(logit)
    log_not_d = torch.nn.functional.logsigmoid(-logit)
    expected = sum(
        float(-(weight * values).sum() / weight.sum()) if weight.any() else 0.0
        for weight, values in ((expert, log_d), (negative, log_not_d))
    )
    found = float(loss(logit, expert_weight=expert, negative_weight=negative))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_label_smoothing_moves_the_best_logit_off_infinity():
    logit = torch.tensor([2.0, -2.0])
    weights = {"expert_weight": torch.tensor([1.0, 0.0]), "negative_weight": torch.tensor([0.0, 1.0])}
    far = loss(10 * logit, label_smoothing=0.1, **weights)
    best = torch.logit(torch.tensor(0.9))
    near = loss(torch.stack([best, -best]), label_smoothing=0.1, **weights)
    assert near < far
    assert loss(10 * logit, **weights) < loss(torch.stack([best, -best]), **weights)


def test_rl_may_be_paid_f_in_place_of_the_logit():
    task, policy = material("task"), trainable()
    own = rollouts(task, policy, seed=0)
    reward = AIRL(AIRLConfig(rl_reward="f", reward_clip=1e6, log_pi_span="step"), policy=policy)
    reward.update(traces_for(task, own), own)
    trajectories = [r.trajectory for r in own if r.trajectory.steps]
    for paid, scored in zip(reward.reward(trajectories), reward.score(trajectories), strict=True):
        assert paid == pytest.approx(scored, abs=1e-5)


def test_a_rollout_drawn_twice_counts_twice_whether_or_not_it_is_the_same_object(policy):
    """A resumed fit has read its rollouts anew, and must weigh them as an undisturbed one does."""
    reward = AIRL(AIRLConfig(experts="rollouts"), policy=policy)
    x, y = rollout("a", "x", correct=True), rollout("a", "y", correct=False)
    again = rollout("a", "x", correct=True)
    sides = [
        [(e.trajectory.text, e.expert, e.negative) for e in reward._examples((), own, np.random.default_rng(0))]
        for own in ([x, y, x], [x, y, again])
    ]
    assert sides[0] == sides[1] == [("x", True, True), ("y", False, True), ("x", True, True)]


def test_matching_leaves_out_problems_that_no_expert_solves(policy):
    reward = AIRL(AIRLConfig(experts="rollouts", match="problem"), policy=policy)
    own = [rollout("a", "x", correct=True), rollout("a", "y", correct=False), rollout("z", "y", correct=False)]
    examples = reward._examples((), own, np.random.default_rng(0))
    _, negative = reward._weights(examples, torch.device("cpu"))
    assert negative.tolist() == [1.0, 1.0, 0.0]


def test_what_was_missing_is_named(policy):
    only_wrong = AIRL(AIRLConfig(experts="rollouts", negatives="wrong"), policy=policy)
    assert only_wrong.update((), [rollout("1", "2", correct=True)]) == {"skipped": 1.0}
    assert only_wrong.why_skipped.startswith("every rollout was correct")
    alike = AIRL(AIRLConfig(mask_shared_prefix=True), policy=policy)
    same = rollout("1", "2", correct=True)
    assert alike.update([same.trajectory], [same]) == {"skipped": 1.0}
    assert alike.why_skipped.startswith("experts and rollouts were alike")


def test_the_share_of_hard_negatives_is_kept_as_far_as_there_are_traces(countdown, policy):
    reward = AIRL(
        AIRLConfig(hard_negatives=HardNegativesConfig(share=0.5, max_tokens=30)), policy=policy, task=countdown
    )
    traces = countdown.traces("train")[:2]
    own = [rollout(f"p{i}", "x", correct=False) for i in range(8)]
    examples = reward._examples(traces, own, np.random.default_rng(0))
    assert sum(e.negative for e in examples) == 8
    assert sum(e.negative and e.first >= 0 and e.age is None for e in examples) == 2


def test_given_experts_that_would_not_be_used_are_refused(countdown, policy):
    with pytest.raises(CapabilityError, match="given experts"):
        AIRL(AIRLConfig(experts="rollouts"), policy=policy, experts=countdown)
