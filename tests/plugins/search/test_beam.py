import math
from dataclasses import replace

import pytest

from trellis.contracts import Extend, Score
from trellis.errors import BudgetExhausted
from trellis.types import Problem, SearchResult, Step, Trajectory
from trellis_beam.beam import Beam
from trellis_beam.config import BeamConfig

ROOT = Trajectory(Problem("p", "spell"), "spell\n")


def grow(prefix, text, log_prob=-1.0, **flags):
    return replace(prefix, steps=(*prefix.steps, Step(text, (1,), (log_prob,))), **flags)


def start(**settings):
    process = Beam(BeamConfig(**settings)).search(ROOT)
    return process, next(process)


def conclude(process, answer=None):
    """Send the last answer, or say that the budget is spent, and return the result."""
    with pytest.raises(StopIteration) as end:
        process.throw(BudgetExhausted("calls")) if answer is None else process.send(answer)
    return end.value.value


def test_the_best_open_prefixes_are_kept():
    process, request = start(width=2, expand=2, temperature=0.8)
    assert request == Extend((ROOT,), n=4, until="step", temperature=0.8)
    a, b, c, d = (grow(ROOT, text) for text in "abcd")
    assert process.send([[a, b, c, d]]) == Score((a, b, c, d))
    assert process.send([[0.1], [0.4], [0.2], [0.3]]) == Extend((b, d), n=2, until="step", temperature=0.8)


def test_a_round_samples_the_same_number_whatever_is_kept():
    process, _ = start(width=4, expand=4)
    a = grow(ROOT, "a")
    process.send([[a] * 16])
    assert process.send([[0.0]]) == Extend((a,), n=16)


def test_equal_prefixes_count_once():
    process, _ = start(width=2, expand=2)
    a, same, b = grow(ROOT, "a"), grow(ROOT, "a", -9.0), grow(ROOT, "b")
    assert process.send([[a, same, b, a]]) == Score((a, b))


def test_equal_prefixes_are_all_kept_where_that_is_asked_for():
    process, _ = start(width=2, expand=2, dedupe=False)
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    assert process.send([[a, a, b, a]]) == Score((a, a, b, a))
    assert process.send([[0.9], [0.9], [0.1], [0.9]]).prefixes == (a, a)


def test_finished_trajectories_take_no_place_in_the_beam_and_the_best_of_them_is_the_answer():
    process, _ = start(width=1, expand=3)
    end, a, b = grow(ROOT, "z", finished=True), grow(ROOT, "a"), grow(ROOT, "b")
    process.send([[end, a, b]])
    assert process.send([[0.9], [0.2], [0.3]]).prefixes == (b,)
    worse = grow(b, "c", finished=True)
    assert process.send([[worse, worse, worse]]) == Score((worse,))
    result = conclude(process, [[0.3, 0.8]])
    assert result.best == end
    assert [(candidate.trajectory, candidate.score) for candidate in result.candidates] == [(end, 0.9), (worse, 0.8)]


def test_prefixes_are_ranked_by_the_aggregated_score():
    process, _ = start(width=2, expand=1, aggregate="min")
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    process.send([[a, b]])
    assert process.send([[0.1], [0.5]]).prefixes == (b, a)
    process.send([[grow(b, "x", finished=True)], [grow(a, "x", finished=True)]])
    assert conclude(process, [[0.5, 0.4], [0.1, 0.9]]).best.text == "bx"


def test_among_equal_scores_the_more_probable_prefix_is_kept():
    process, _ = start(width=1, expand=2)
    a, b = grow(ROOT, "a", -2.0), grow(ROOT, "b", -1.0)
    process.send([[a, b]])
    assert process.send([[0.5], [0.5]]).prefixes == (b,)


def test_cut_trajectories_are_dropped():
    process, _ = start(width=1, expand=2)
    a = grow(ROOT, "a")
    assert process.send([[grow(ROOT, "b", cut=True), a]]) == Score((a,))
    process.send([[0.0]])
    assert conclude(process, [[grow(a, "c", cut=True)] * 2]) == SearchResult(None)


def test_a_spent_budget_leaves_the_best_finished_so_far():
    process, _ = start(width=1, expand=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end, a]])
    process.send([[0.1], [0.9]])
    result = conclude(process)
    assert result.best == end
    assert [candidate.score for candidate in result.candidates] == [0.1]


def test_what_the_budget_left_unscored_ranks_last():
    process, _ = start(width=1, expand=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end, a]])
    process.send([[-5.0], [0.9]])
    process.send([[grow(a, "b", finished=True), grow(a, "c")]])
    result = conclude(process)
    assert result.best == end
    assert [candidate.score for candidate in result.candidates] == [-5.0, -math.inf]
