"""How a batch to fit a reward on is drawn."""

from collections import Counter

import numpy as np
import pytest

from trellis import Outcome, Problem, Rollout, Step, Trajectory
from trellis.run.sampling import draw_batch


def rollout(problem: int, number: int, *, correct: bool) -> Rollout:
    known = Problem(f"p{problem}", str(problem))
    trajectory = Trajectory(known, f"{problem}\n", (Step(str(number)),), finished=True)
    return Rollout(trajectory, Outcome(correct, float(correct)))


def made(*, problems: int, each: int, correct: int) -> list[Rollout]:
    return [rollout(p, n, correct=n < correct) for p in range(problems) for n in range(each)]


def drawn(rollouts, size, by, seed=0):
    return draw_batch(rollouts, size, by=by, rng=np.random.default_rng(seed))


def test_single_rollouts_are_drawn_once_each_and_follow_the_generator():
    rollouts = made(problems=5, each=4, correct=1)
    batch = drawn(rollouts, 8, "rollout")
    assert len({id(one) for one in batch}) == 8
    assert batch == drawn(rollouts, 8, "rollout")
    assert batch != drawn(rollouts, 8, "rollout", seed=1)
    assert len(drawn(rollouts, 100, "rollout")) == 20


@pytest.mark.parametrize(("size", "whole"), [(8, 2), (11, 2), (2, 1)])
def test_whole_problems_are_drawn_as_many_as_fit_and_at_least_one(size, whole):
    batch = drawn(made(problems=5, each=4, correct=1), size, "problem")
    assert sorted(Counter(one.trajectory.problem.id for one in batch).values()) == [4] * whole


def test_by_outcome_half_of_a_batch_is_correct_however_rare_that_is():
    rollouts = [*made(problems=1, each=1, correct=1), *made(problems=40, each=4, correct=0)]
    batch = drawn(rollouts, 9, "outcome")
    assert [one.outcome.correct for one in batch] == [True] * 4 + [False] * 5
    wrong = [one for one in batch if not one.outcome.correct]
    assert len({id(one) for one in wrong}) == 5, "what there is enough of is drawn once each"


def test_by_outcome_draws_any_where_all_outcomes_are_alike():
    rollouts = made(problems=5, each=4, correct=0)
    assert drawn(rollouts, 6, "outcome") == drawn(rollouts, 6, "rollout")
