import math
from dataclasses import replace

import pytest

from trellis.contracts import Extend, Score
from trellis.errors import BudgetExhausted
from trellis.types import Problem, SearchResult, Step, Trajectory
from trellis_beam.beam import Beam
from trellis_beam.config import BeamConfig, DvtsConfig
from trellis_beam.dvts import Dvts

ROOT = Trajectory(Problem("p", "spell"), "spell\n")


def grow(prefix, text, log_prob=-1.0, **flags):
    return replace(prefix, steps=(*prefix.steps, Step(text, (1,), (log_prob,))), **flags)


def start(**settings):
    process = Dvts(DvtsConfig(**settings)).search(ROOT)
    return process, next(process)


def conclude(process, answer=None):
    """Send the last answer, or say that the budget is spent, and return the result."""
    with pytest.raises(StopIteration) as end:
        process.throw(BudgetExhausted("calls")) if answer is None else process.send(answer)
    return end.value.value


def test_each_subtree_goes_on_with_its_own_best_step():
    process, request = start(trees=2, expand=2, temperature=0.8)
    assert request == Extend((ROOT, ROOT), n=2, until="step", temperature=0.8)
    a, b, c, d = (grow(ROOT, text) for text in "abcd")
    assert process.send([[a, b], [c, d]]) == Score((a, b, c, d))
    # A beam would keep a and b, the best two.
    assert process.send([[0.9], [0.8], [0.1], [0.2]]).prefixes == (a, d)


def test_subtrees_may_take_the_same_step_and_stay_independent():
    process, _ = start(trees=2, expand=2)
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    assert process.send([[a, a], [b, a]]) == Score((a, b, a))
    assert process.send([[0.9], [0.1], [0.9]]).prefixes == (a, a)


def test_a_subtree_without_open_steps_ends_and_the_others_go_on():
    process, _ = start(trees=2, expand=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end, grow(ROOT, "c", cut=True)], [a, end]])
    assert process.send([[0.5], [0.1], [0.5]]).prefixes == (a,)
    best = grow(a, "b", finished=True)
    process.send([[best, best]])
    result = conclude(process, [[0.1, 0.7]])
    assert result.best == best
    assert [one.score for one in result.candidates] == [0.5, 0.5, 0.7]


def test_one_subtree_is_a_beam_of_width_one():
    searches = (Dvts(DvtsConfig(trees=1, expand=3)), Beam(BeamConfig(width=1, expand=3)))
    dvts, beam = (search.search(ROOT) for search in searches)
    assert next(dvts) == next(beam)
    a, b, end = grow(ROOT, "a"), grow(ROOT, "b"), grow(ROOT, "z", finished=True)
    for answer in ([[a, b, end]], [[0.1], [0.4], [0.2]], [[grow(b, "x", finished=True)] * 3]):
        assert dvts.send(answer) == beam.send(answer)
    assert conclude(dvts, [[0.4, 0.3]]) == conclude(beam, [[0.4, 0.3]])


def test_what_the_budget_left_unscored_ranks_last():
    process, _ = start(trees=1, expand=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end, a]])
    process.send([[-5.0], [0.9]])
    process.send([[grow(a, "b", finished=True), grow(a, "c")]])
    assert [one.score for one in conclude(process).candidates] == [-5.0, -math.inf]


def test_a_budget_of_nothing_finds_nothing():
    process, _ = start()
    assert conclude(process) == SearchResult(None)
