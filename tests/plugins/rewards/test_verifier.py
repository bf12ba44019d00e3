"""The verifier as a reward."""

from dataclasses import replace

import pytest

from trellis import Problem, Step, Trajectory
from trellis.testing.material import Successor, SuccessorConfig
from trellis_outcome.config import VerifierConfig
from trellis_outcome.verifier import Verifier


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def reward(task):
    return Verifier(VerifierConfig(), task=task)


def test_only_the_last_step_of_a_finished_trajectory_is_scored_and_with_the_verdicts_score(task, reward):
    trace = task.traces("train")[0]
    wrong = replace(trace, steps=(trace.steps[0], Step("x")))
    assert reward.score([trace, wrong]) == [[0.0, 1.0], [0.0, task.verify(wrong).score]]
    assert 0 < task.verify(wrong).score < 1


def test_what_is_not_finished_is_worth_nothing_however_right(task, reward):
    trace = task.traces("train")[0]
    open_ = replace(trace, finished=False)
    cut = replace(trace, finished=False, cut=True)
    first = replace(trace, steps=trace.steps[:1], finished=False)
    assert reward.score([open_, cut, first]) == [[0.0, 0.0], [0.0, 0.0], [0.0]]


def test_no_steps_have_no_scores(reward):
    empty = Trajectory(Problem("12", "12"), "12\n")
    assert reward.score([empty, replace(empty, finished=True)]) == [[], []]


def test_it_pays_reinforcement_learning_what_it_says_to_search(task, reward):
    traces = task.traces("train")[:3]
    assert reward.reward(traces) == reward.score(traces) == [[0.0, 1.0]] * 3
