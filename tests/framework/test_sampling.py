"""Rollouts of a constrained task: legal whatever the policy, under one mask when sampled, trained on and scored."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trellis import build
from trellis.records import rollout_from_json, rollout_to_json
from trellis.sampling import sample_trajectories
from trellis.search.driver import run_searches
from trellis.testing.material import Successor, SuccessorConfig
from trellis.types import Outcome, Rollout, SampleRequest, Step

INIT = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 64}


class Legal(Successor):
    """The next of each digit, of which any digit may be written and nothing else."""

    constrained = True


@pytest.fixture(scope="module")
def task():
    return Legal(SuccessorConfig(size=4))


@pytest.fixture(scope="module")
def policy():
    return build("transformers", {"init": INIT, "seed": 3})


def sampled(policy, task, *, n=4, seed=0, max_tokens=32):
    requests = [
        SampleRequest(task.start(problem), n=n, seed=seed, max_tokens=max_tokens) for problem in task.problems("train")
    ]
    return [trajectory for row in sample_trajectories(policy, task, requests) for trajectory in row]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**40))
def test_every_rollout_of_untrained_weights_is_legal_to_its_end(policy, task, seed):
    for trajectory in sampled(policy, task, seed=seed):
        assert trajectory.finished
        assert trajectory.answer is not None
        for place, step in enumerate(trajectory.steps):
            prefix = replace(trajectory, steps=trajectory.steps[:place], finished=False, answer=None)
            assert step.text in task.legal_steps(prefix)


def test_free_rollouts_of_the_same_policy_are_not(policy):
    assert not any(each.finished for each in sampled(policy, Successor(SuccessorConfig(size=4)), max_tokens=8))


def test_the_noted_log_probabilities_are_those_that_training_computes(policy, task):
    trajectories = sampled(policy, task)
    batch = policy.batch(trajectories)
    noted = torch.tensor([sum(t.log_prob for t in (trajectory,)) for trajectory in trajectories])
    assert torch.allclose(policy.token_log_probs(batch).sum(1).detach(), noted, atol=1e-4)


def test_the_probabilities_of_what_a_step_could_be_add_up_to_one(policy, task):
    (root,) = [task.start(problem) for problem in task.problems("train")[:1]]
    legal = tuple(task.legal_steps(root))
    all_of_them = [replace(root, steps=(Step(text, choices=legal),)) for text in legal]
    total = sum(np.exp(trajectory.log_prob) for trajectory in policy.log_probs(all_of_them))
    assert total == pytest.approx(1.0, abs=1e-5)
    free = [replace(root, steps=(Step(text),)) for text in legal]
    assert sum(np.exp(trajectory.log_prob) for trajectory in policy.log_probs(free)) < 0.5


def test_a_rollout_has_the_tokens_of_a_trace_with_the_same_text(policy, task):
    trajectory = sampled(policy, task)[0]
    trace = task.constrain(replace(trajectory, steps=tuple(Step(step.text) for step in trajectory.steps)))
    (scored,) = policy.log_probs([trace])
    assert [step.token_ids for step in scored.steps] == [step.token_ids for step in trajectory.steps]
    assert scored.log_prob == pytest.approx(trajectory.log_prob, abs=1e-4)


def test_a_rollout_out_of_tokens_is_cut(policy, task):
    for trajectory in sampled(policy, task, max_tokens=2):
        assert trajectory.cut
        assert not trajectory.finished


def test_what_a_step_was_sampled_among_is_stored_with_it(policy, task):
    rollout = Rollout(sampled(policy, task)[0], Outcome(False, 0.0))
    assert rollout_from_json(rollout_to_json(rollout)) == rollout


def test_grpo_begins_at_a_ratio_of_one_and_no_distance_from_its_reference(task):
    policy = build("transformers", {"init": INIT, "seed": 3})
    config = {"steps": 2, "group_size": 4, "process_weight": 0, "kl_weight": 0.1, "entropy_weight": 0.01, "epochs": 1}
    steps = list(build("grpo", config).train(policy=policy, task=task))
    assert steps[0].metrics["clipped"] == 0
    assert steps[0].metrics["kl"] == 0
    assert steps[0].metrics["finished"] == 1
    # Ten digits and nothing else: what untrained weights draw from has close to log 10 nats at each of them.
    entropies = [-s.log_prob for r in steps[0].rollouts for s in r.trajectory.steps]
    assert np.mean(entropies) == pytest.approx(np.log(10), abs=0.1)
    assert steps[1].metrics["kl"] > 0


def test_rft_and_searches_write_legal_steps_alone(task):
    policy = build("transformers", {"init": INIT, "seed": 3})
    config = {"rounds": 1, "steps_per_round": 1, "samples_per_problem": 64, "max_tokens": 32, "include_traces": True}
    (step,) = build("rft", config).train(policy=policy, task=task)
    assert step.metrics["finished"] == 1
    reports = run_searches(
        task.problems("test"), search=build("beam", {"width": 2}), policy=policy, task=task, reward=build("random", {})
    )
    for report in reports:
        assert report.result.best is not None
        assert all(len(line) == 1 and line.isdigit() for line in report.result.best.text.split("\n"))
