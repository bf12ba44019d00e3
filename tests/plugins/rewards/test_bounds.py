"""The bounds between which a step reward lies: the oracle and random numbers."""

import subprocess
import sys
from dataclasses import replace

import pytest

from trellis.testing.material import Successor, SuccessorConfig
from trellis.types import Step
from trellis_outcome.config import OracleConfig, RandomConfig
from trellis_outcome.oracle import Oracle
from trellis_outcome.random_score import RandomScore


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def traces(task):
    return task.traces("train")


def test_the_oracle_pays_1_while_the_problem_can_be_solved_and_0_from_the_first_wrong_step(task, traces):
    trace = next(t for t in traces if len(t.steps) == 3)
    wrong = replace(trace, steps=(trace.steps[0], Step("x\n"), trace.steps[2]))
    reward = Oracle(OracleConfig(), task=task)
    assert reward.score([trace, wrong]) == reward.reward([trace, wrong]) == [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    assert reward.score([]) == []


def test_random_numbers_depend_on_seed_problem_and_prefix_alone(traces):
    reward = RandomScore(RandomConfig(seed=1))
    (whole,) = reward.score(traces[:1])
    prefix = replace(traces[0], steps=traces[0].steps[:1], finished=False, prompt="another prompt")
    assert reward.score([traces[1], prefix])[1] == whole[:1]
    assert RandomScore(RandomConfig(seed=2)).score(traces[:1]) != [whole]
    other = replace(traces[0], problem=traces[1].problem)
    assert reward.score([other]) != [whole]


def test_how_a_text_is_cut_into_steps_does_not_change_the_number_of_the_whole(traces):
    trace = traces[0]
    joined = replace(trace, steps=(Step(trace.text),))
    reward = RandomScore(RandomConfig())
    assert reward.score([joined])[0][-1] == reward.score([trace])[0][-1]


def test_random_numbers_are_spread_over_the_unit_interval(traces):
    values = [value for row in RandomScore(RandomConfig()).score(traces) for value in row]
    assert all(0 <= value < 1 for value in values)
    assert len(set(values)) == len(values) > 100
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.1)


def test_random_numbers_are_the_same_in_another_process():
    program = (
        "from trellis import Problem, Step, Trajectory\n"
        "from trellis_outcome.config import RandomConfig\n"
        "from trellis_outcome.random_score import RandomScore\n"
        "print(RandomScore(RandomConfig(seed=3)).score([Trajectory(Problem('p', 'p'), 'p', (Step('a'),))])[0][0])"
    )
    printed = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(printed) == 1
