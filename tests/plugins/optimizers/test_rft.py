"""Rejection-sampling fine-tuning: what is kept, what is trained on, and that it goes on the same."""

from itertools import islice

import pytest
import torch

from trellis import Outcome, Problem, Rollout, Step, Trajectory
from trellis.errors import CapabilityError, NothingSolvedError
from trellis.testing.material import Successor
from trellis_sft.config import RFTConfig, SFTConfig
from trellis_sft.rft import RFT, distinct_correct
from trellis_sft.sft import SFT


def rft(**options) -> RFT:
    defaults = {
        "rounds": 2,
        "samples_per_problem": 8,
        "steps_per_round": 3,
        "batch_size": 2,
        "max_tokens": 8,
        "warmup": 0,
    }
    return RFT(RFTConfig(**{**defaults, **options}))


@pytest.fixture(scope="module")
def weights_right_half_of_the_time():
    return {}


@pytest.fixture
def policy(task, make_policy, weights_right_half_of_the_time):
    """A policy that is right half of the time."""
    policy, known = make_policy(), weights_right_half_of_the_time
    if not known:
        list(SFT(SFTConfig(steps=55, batch_size=5, learning_rate=1e-2)).train(policy=policy, task=task))
        known |= weights(policy)
    policy.module.load_state_dict(known)
    return policy


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def rollout(problem: str, text: str, *, correct: bool = True) -> Rollout:
    trajectory = Trajectory(Problem(problem, problem), f"{problem}\n", (Step(text, (1,), (-1.0,)),), finished=True)
    return Rollout(trajectory, Outcome(correct=correct, score=float(correct)))


def test_kept_are_the_first_correct_ones_of_each_problem_each_text_once():
    sampled = [
        rollout("a", "wrong", correct=False),
        *(rollout("a", text) for text in ("one", "one", "two", "three")),
        *(rollout("b", text) for text in ("given", "one")),
    ]
    kept = distinct_correct(sampled, limit=2, known=[rollout("b", "given").trajectory])
    assert [(t.problem.id, t.text) for t in kept] == [("a", "one"), ("a", "two"), ("b", "one")]


def test_it_raises_the_accuracy(policy, task):
    options = {"rounds": 3, "samples_per_problem": 16, "steps_per_round": 20, "batch_size": 5}
    steps = list(rft(learning_rate=1e-2, **options).train(policy=policy, task=task))
    accuracy = [step.metrics["accuracy"] for step in steps if "accuracy" in step.metrics]
    assert len(accuracy) == 3
    assert accuracy[-1] > accuracy[0] + 0.15


def test_a_rounds_rollouts_are_yielded_in_its_first_step_with_their_accuracy(policy, task):
    steps = list(rft(problems_per_round=4).train(policy=policy, task=task))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.metrics["round"] for step in steps] == [1, 1, 1, 2, 2, 2]
    assert [len(step.rollouts) for step in steps] == [32, 0, 0, 32, 0, 0]
    for number in (0, 3):
        rollouts, metrics = steps[number].rollouts, steps[number].metrics
        assert {rollout.step for rollout in rollouts} == {number}
        assert all(rollout.outcome == task.verify(rollout.trajectory) for rollout in rollouts)
        correct = [rollout for rollout in rollouts if rollout.outcome.correct]
        assert metrics["accuracy"] == len(correct) / 32
        assert metrics["solved"] == len({rollout.trajectory.problem.id for rollout in correct}) / 4
        assert metrics["kept"] == 4 * metrics["solved"], "every problem of this task has one solution"
        assert metrics["max_tokens_share"] == sum(rollout.trajectory.cut for rollout in rollouts) / 32


@pytest.mark.parametrize("include", [False, True], ids=["own", "with traces"])
def test_it_trains_on_correct_rollouts_and_on_traces_only_if_asked_to(include, policy, task):
    seen, batch = [], policy.batch

    def noting(trajectories):
        seen.extend(trajectories)
        return batch(trajectories)

    policy.batch = noting
    first = next(rft(include_traces=include, batch_size=50, problems_per_round=3).train(policy=policy, task=task))
    correct = {r.trajectory.problem.id for r in first.rollouts if r.outcome.correct}
    everything = {trace.problem.id for trace in task.traces("train")}
    assert {t.problem.id for t in seen} == (everything if include else correct)
    assert len(seen) == len({t.problem.id for t in seen}), "a rollout that repeats a trace is not trained on twice"
    assert all(task.verify(t).correct for t in seen)


@pytest.mark.parametrize("from_start", [True, False], ids=["from start", "going on"])
def test_a_round_trains_the_weights_of_the_start_or_goes_on(from_start, policy, task):
    """AdamW's first step moves no weight by more than its learning rate: where it began is where it ends."""
    rate = 1e-2
    start = weights(policy)
    options = {"learning_rate": rate, "schedule": "constant", "weight_decay": 0.0, "steps_per_round": 1, "rounds": 4}
    list(rft(from_start=from_start, **options).train(policy=policy, task=task))
    moved = max((value - start[name]).abs().max().item() for name, value in weights(policy).items())
    assert (moved <= 1.001 * rate) == from_start


@pytest.mark.parametrize("from_start", [True, False], ids=["from start", "going on"])
@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_a_stopped_training_goes_on_with_the_same_numbers(stop, from_start, policy, task, copy_of, through_disk):
    def run(optimizer, own):
        return optimizer.train(policy=own, task=task, seed=3)

    whole, stopped = copy_of(policy), copy_of(policy)
    expected = list(run(rft(from_start=from_start), whole))
    first, second = rft(from_start=from_start), rft(from_start=from_start)
    found = list(islice(run(first, stopped), stop))
    second.restore(through_disk(first.state()))
    resumed = copy_of(stopped)
    torch.manual_seed(77)
    found += run(second, resumed)
    assert found == expected
    assert equal(weights(resumed), weights(whole))


def test_what_a_finished_round_kept_is_not_in_the_state(policy, task):
    optimizer = rft(from_start=False)
    kept = []
    for _ in optimizer.train(policy=policy, task=task):
        state = optimizer.state()
        kept.append(len(state.values["kept"]))
        assert bool(state.tensors) == bool(kept[-1])
    assert [count > 0 for count in kept] == [True, True, False, True, True, False]


def test_one_optimizer_trains_in_each_of_two_stages_from_its_own_start(policy, task):
    optimizer = rft()
    for _ in range(2):
        start = weights(policy)
        steps = optimizer.train(policy=policy, task=task)
        assert next(steps).step == 1
        kept = {k[6:]: v for k, v in optimizer.state().tensors.items() if k.startswith("start.")}
        assert equal(kept, start)
        assert [step.step for step in steps] == [2, 3, 4, 5, 6]


class Unsolvable(Successor):
    """Nothing is ever right."""

    def verify(self, trajectory):
        return Outcome(correct=False, score=0.0, reason="never")


def test_a_round_without_a_correct_rollout_says_so_and_changes_nothing(policy, task):
    before = weights(policy)
    with pytest.raises(NothingSolvedError, match=r"at step 1: none of 40 rollouts of 5 problems is correct") as caught:
        next(rft().train(policy=policy, task=Unsolvable(task.config)))
    error = caught.value
    assert (error.step, error.num_rollouts, error.num_problems, error.reason) == (1, 40, 5, "never")
    assert "Train on traces first" in str(error)
    assert equal(weights(policy), before)


class WithoutTraces(Successor):
    def traces(self, split):
        return ()


def test_it_needs_traces_only_to_include_them(policy, task):
    next(rft().train(policy=policy, task=WithoutTraces(task.config)))
    with pytest.raises(CapabilityError, match="'WithoutTraces' has no traces: set rft's `include_traces` to false"):
        next(rft(include_traces=True).train(policy=policy, task=WithoutTraces(task.config)))
