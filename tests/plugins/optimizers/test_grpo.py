"""GRPO on real policies: that it learns, what it reports, and that it goes on the same."""

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trellis import Outcome
from trellis.testing.material import Successor
from trellis_airl.airl import AIRL
from trellis_airl.config import AIRLConfig
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO
from trellis_sft.config import SFTConfig
from trellis_sft.sft import SFT


def grpo(**options) -> GRPO:
    defaults = {"steps": 4, "problems_per_step": 4, "group_size": 4, "max_tokens": 8, "learning_rate": 3e-3}
    return GRPO(GRPOConfig(**{**defaults, **options}))


@pytest.fixture
def policy(task, make_policy):
    """A policy that is right half of the time."""
    policy = make_policy()
    list(SFT(SFTConfig(steps=55, batch_size=5, learning_rate=1e-2)).train(policy=policy, task=task))
    return policy


def mean(steps, name: str) -> float:
    return float(np.mean([step.metrics[name] for step in steps]))


def test_it_raises_the_accuracy(policy, task):
    optimizer = grpo(steps=30, problems_per_step=5, group_size=32, final_learning_rate=1e-3)
    steps = list(optimizer.train(policy=policy, task=task))
    assert mean(steps[-5:], "accuracy") > mean(steps[:5], "accuracy") + 0.15
    assert mean(steps[-5:], "outcome") > mean(steps[:5], "outcome") + 0.08


def test_every_step_reports_its_rollouts_with_log_probs_and_outcomes(policy, task):
    for number, step in enumerate(grpo(steps=3).train(policy=policy, task=task), start=1):
        assert step.step == number
        assert len(step.rollouts) == 4 * 4
        ids = [rollout.trajectory.problem.id for rollout in step.rollouts]
        assert len(set(ids)) == 4
        assert ids == sorted(ids, key=ids.index), "groups in a row"
        for rollout in step.rollouts:
            assert rollout.step == number - 1
            assert rollout.outcome == task.verify(rollout.trajectory)
            assert rollout.trajectory.num_tokens > 0
            assert all(len(s.token_ids) == len(s.log_probs) > 0 for s in rollout.trajectory.steps)
        assert step.metrics["accuracy"] == np.mean([rollout.outcome.correct for rollout in step.rollouts])
        assert all(np.isfinite(value) for value in step.metrics.values())


def test_fresh_rollouts_are_on_policy_so_nothing_is_clipped_in_one_epoch(policy, task):
    for step in grpo().train(policy=policy, task=task):
        assert step.metrics["clipped"] == 0


def test_more_epochs_leave_the_old_policy_and_clip(policy, task):
    steps = list(grpo(epochs=6, clip=0.01, learning_rate=1e-2).train(policy=policy, task=task))
    assert mean(steps, "clipped") > 0.05


def test_the_kl_is_0_at_the_start_and_grows_as_the_policy_leaves_its_reference(policy, task):
    steps = list(grpo(kl_weight=0.01, learning_rate=1e-2).train(policy=policy, task=task))
    assert steps[0].metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert all(step.metrics["kl"] > 1e-4 for step in steps[1:])


def test_a_kl_weight_holds_the_policy_back(task, make_policy, policy, copy_of):
    free, held = copy_of(policy), copy_of(policy)
    kl = {}
    for weight, own in ((1e-6, free), (2.0, held)):
        steps = list(grpo(steps=10, kl_weight=weight).train(policy=own, task=task))
        kl[weight] = mean(steps[-3:], "kl")
    assert kl[2.0] < 0.5 * kl[1e-6]


VARIANTS = {
    "plain": {},
    "kl": {"kl_weight": 0.1},
    "resampled": {"problems_per_step": 2, "group_size": 2, "resample_rounds": 2},
    "sequences": {"ratio": "sequence", "loss_average": "sequences", "entropy_weight": 0.01},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_training_goes_on_with_the_same_numbers(variant, policy, task, copy_of, through_disk):
    options = VARIANTS[variant] | {"epochs": 2}
    whole, stopped = copy_of(policy), copy_of(policy)
    expected = [step.metrics for step in grpo(**options).train(policy=whole, task=task, seed=3)]
    first = grpo(**options)
    found = [step.metrics for step in islice(first.train(policy=stopped, task=task, seed=3), 2)]
    state = through_disk(first.state())
    resumed, second = copy_of(stopped), grpo(**options)
    second.restore(state)
    found += [step.metrics for step in second.train(policy=resumed, task=task, seed=3)]
    assert found == expected
    for name, value in resumed.module.state_dict().items():
        assert torch.equal(value, whole.module.state_dict()[name])
    reference = {name[10:]: value for name, value in state.tensors.items() if name.startswith("reference.")}
    assert bool(reference) == (variant == "kl")
    for name, value in reference.items():
        assert torch.equal(value, policy.module.state_dict()[name]), "the policy as it was at the stage's start"


def test_one_optimizer_trains_in_each_of_two_stages_from_its_own_reference(policy, task):
    optimizer = grpo(steps=2, kl_weight=0.1, learning_rate=1e-2)
    for _ in range(2):
        steps = list(optimizer.train(policy=policy, task=task))
        assert [step.step for step in steps] == [1, 2]
        assert steps[0].metrics["kl"] == pytest.approx(0, abs=1e-6)


def test_a_learned_reward_learns_from_the_first_step_and_counts_from_process_from(policy, task):
    reward = AIRL(AIRLConfig(), policy=policy)
    steps = list(grpo(process_weight=0.5, process_from=2).train(policy=policy, task=task, reward=reward))
    assert all("reward/loss" in step.metrics for step in steps)
    assert ["process_reward" in step.metrics for step in steps] == [False, False, True, True]
    assert steps[0].metrics["reward/loss"] == pytest.approx(2 * np.log(2), abs=1e-5), "nothing is known before"
    assert steps[1].metrics["reward/expert_logit"] != 0, "the first step's update has been made"
    assert all(np.isfinite(value) for step in steps for value in step.metrics.values())


def test_the_process_advantage_changes_the_update_only_from_process_from_on(policy, task, copy_of):
    def trained(**options):
        own = copy_of(policy)
        reward = AIRL(AIRLConfig(), policy=own)
        return [s.metrics["grad_norm"] for s in grpo(steps=3, **options).train(policy=own, task=task, reward=reward)]

    without, later = trained(process_weight=0.0), trained(process_weight=1.0, process_from=1)
    assert without[0] == later[0]
    assert without[1] != later[1]


def test_the_learned_reward_is_given_the_traces_of_the_problems_sampled(policy, task):
    seen = []

    class Noting(AIRL):
        def update(self, traces, rollouts):
            seen.append(({t.problem.id for t in traces}, {r.trajectory.problem.id for r in rollouts}))
            return super().update(traces, rollouts)

    list(grpo(problems_per_step=2).train(policy=policy, task=task, reward=Noting(AIRLConfig(), policy=policy)))
    assert all(traces == rollouts and len(traces) == 2 for traces, rollouts in seen)
    assert len({tuple(sorted(traces)) for traces, _ in seen}) > 1


class AllTheSame(Successor):
    """Whatever is written is worth as much."""

    def verify(self, trajectory):
        return Outcome(correct=False, score=0.5, reason="never")


def test_groups_without_variance_change_nothing(policy, task):
    before = {name: value.clone() for name, value in policy.module.state_dict().items()}
    steps = list(grpo().train(policy=policy, task=AllTheSame(task.config)))
    assert mean(steps, "informative") == 0
    for name, value in policy.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_groups_without_variance_make_way_for_problems_not_yet_tried(policy, task):
    options = {"steps": 6, "problems_per_step": 2, "group_size": 2}
    steps = list(grpo(resample_rounds=4, **options).train(policy=policy, task=task))
    assert any(step.metrics["resampled"] > 0 for step in steps)
    for step in steps:
        groups = [step.rollouts[i : i + 2] for i in range(0, len(step.rollouts), 2)]
        ids = [{rollout.trajectory.problem.id for rollout in group} for group in groups]
        assert all(len(group) == 1 for group in ids)
        assert len(set.union(*ids)) == len(groups), "no problem is tried twice"
        assert step.metrics["resampled"] == len(groups) / 2 - 1
        assert step.metrics["accuracy"] == np.mean([rollout.outcome.correct for rollout in step.rollouts])
        varied = sum(group[0].outcome.score != group[1].outcome.score for group in groups)
        assert varied <= 2, "a group that says something is not replaced"
        assert step.metrics["informative"] == varied / 2
        assert varied == 2 or len(groups) == 5, "the batch is full, or every problem has been tried"


def test_a_step_without_resampling_is_that_of_a_batch_that_needs_none(policy, task, copy_of):
    plain, full = (
        next(grpo(group_size=16, resample_rounds=rounds).train(policy=copy_of(policy), task=task)) for rounds in (0, 3)
    )
    assert plain.metrics["informative"] > 0
    assert full.rollouts[: len(plain.rollouts)] == plain.rollouts


def test_resampling_ends_when_all_problems_have_been_tried(policy, task):
    (step,) = grpo(steps=1, resample_rounds=9).train(policy=policy, task=AllTheSame(task.config))
    assert len({rollout.trajectory.problem.id for rollout in step.rollouts}) == 5
    assert step.metrics["resampled"] == 1 / 4


def test_a_learned_reward_learns_from_everything_sampled(policy, task):
    seen = []

    class Noting(AIRL):
        def update(self, traces, rollouts):
            seen.append(({t.problem.id for t in traces}, list(rollouts)))
            return super().update(traces, rollouts)

    reward = Noting(AIRLConfig(), policy=policy)
    (step,) = grpo(steps=1, resample_rounds=9).train(policy=policy, task=AllTheSame(task.config), reward=reward)
    ((problems, rollouts),) = seen
    assert tuple(rollouts) == step.rollouts
    assert len(problems) == 5


def test_an_entropy_weight_keeps_the_policy_from_getting_sure(policy, task, copy_of):
    def entropies(weight):
        steps = grpo(steps=6, entropy_weight=weight).train(policy=copy_of(policy), task=task)
        return [step.metrics["exact_entropy"] for step in steps]

    little, much = entropies(1e-9), entropies(1.0)
    assert little[0] == much[0]
    assert much[-1] > 1.2 * little[-1]


def test_a_vanishing_entropy_weight_changes_nothing(policy, task, copy_of):
    without, with_one = (
        next(grpo(entropy_weight=weight, temperature=0.7).train(policy=copy_of(policy), task=task)).metrics
        for weight in (0.0, 1e-12)
    )
    assert "exact_entropy" not in without
    for name, value in without.items():
        assert with_one[name] == pytest.approx(value, abs=1e-6)
    assert with_one["exact_entropy"] == pytest.approx(with_one["entropy"], rel=0.5), "what the mean surprise estimates"


def test_a_reward_that_is_not_to_be_updated_is_used_as_it_was_fitted(policy, task):
    class Frozen(AIRL):
        def update(self, traces, rollouts):
            raise AssertionError("updated")

    reward = Frozen(AIRLConfig(), policy=policy)
    rollouts = next(grpo().train(policy=policy, task=task)).rollouts
    AIRL.update(reward, task.traces("train"), rollouts)
    options = {"steps": 2, "process_weight": 0.5, "process_from": 0, "reward_updates": False}
    for step in grpo(**options).train(policy=policy, task=task, reward=reward):
        assert "process_reward" in step.metrics
        assert "reward/loss" not in step.metrics


def test_the_process_advantage_counts_until_process_until_and_the_reward_learns_on(policy, task):
    reward = AIRL(AIRLConfig(), policy=policy)
    options = {"process_weight": 0.5, "process_from": 1, "process_until": 3}
    steps = list(grpo(**options).train(policy=policy, task=task, reward=reward))
    assert ["process_reward" in step.metrics for step in steps] == [False, True, True, False]
    assert all("reward/loss" in step.metrics for step in steps)


@pytest.mark.parametrize("options", [{"process_credit": "min"}, {"process_credit": "sum", "process_form": "potential"}])
def test_the_form_of_the_process_reward_reaches_the_update(options, policy, task, copy_of):
    def gradient(**more):
        own = copy_of(policy)
        reward = AIRL(AIRLConfig(), policy=own)
        steps = grpo(steps=1, process_weight=1.0, process_from=0, **more).train(policy=own, task=task, reward=reward)
        return next(steps).metrics["grad_norm"]

    assert gradient(**options) != gradient(process_credit=options["process_credit"].replace("min", "sum"))


def test_the_share_cut_by_length_is_reported(policy, task):
    (step,) = grpo(steps=1, max_tokens=2).train(policy=policy, task=task)
    assert step.metrics["max_tokens_share"] == np.mean([rollout.trajectory.cut for rollout in step.rollouts]) > 0
    assert step.metrics["max_tokens_share"] + step.metrics["finished"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 5, "process_weight": 0.1}, "Lower 'process_from'"),
        ({"outcome_weight": 0.0, "process_weight": 1.0}, "Set 'process_from: 0'"),
    ],
)
def test_a_process_reward_that_would_never_count_is_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        GRPOConfig(**options)


@pytest.mark.parametrize(("ratio", "weight"), [(1.25, 1.25), (5.0, 2.0), (0.5, 0.5)])
def test_the_loss_is_weighted_by_the_ratio_to_the_sampler(ratio, weight, policy, task, copy_of):
    """A sampler that says of each token that it was less probable, by a factor, than the policy finds it."""

    def step(**options):
        learner, options = copy_of(policy), {"steps": 1, "max_grad_norm": 1e9, **options}
        own = learner.sample

        def other(requests):
            return [
                [replace(c, log_probs=tuple(value - math.log(ratio) for value in c.log_probs)) for c in completions]
                for completions in own(requests)
            ]

        learner.sample = other
        return next(grpo(**options).train(policy=learner, task=task)).metrics

    plain, weighted = step(), step(importance_cap=2.0)
    assert "importance_weight" not in plain
    assert weighted["importance_weight"] == pytest.approx(weight, rel=1e-4)
    assert weighted["importance_truncated"] == (ratio > 2)
    assert weighted["sampler_kl"] == pytest.approx(ratio - 1 - math.log(ratio), rel=1e-3)
    assert weighted["grad_norm"] == pytest.approx(weight * plain["grad_norm"], rel=1e-3)


def test_a_policy_that_samples_itself_has_weights_of_1(policy, task):
    for step in grpo(importance_cap=2.0).train(policy=policy, task=task):
        assert step.metrics["importance_weight"] == pytest.approx(1, abs=1e-4)
        assert step.metrics["importance_truncated"] == 0


def test_the_ratio_to_the_sampler_is_not_known_at_another_temperature():
    with pytest.raises(ValidationError, match=r"'importance_cap' with 'temperature: 0.7'.*Set 'temperature: 1.0'"):
        GRPOConfig(importance_cap=2.0, temperature=0.7)
