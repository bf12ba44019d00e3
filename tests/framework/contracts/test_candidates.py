import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.contracts import conclude, distinct, softmax, unscored, weighted_shares, weighted_vote
from trellis.types import Candidate, Problem, SearchResult, Step, Trajectory


def ended(text, log_prob=-1.0, *, finished=True, answer=None):
    return Trajectory(Problem("p", ""), "", (Step(text, (1,), (log_prob,)),), finished=finished, answer=answer)


def test_the_best_has_the_highest_score_then_is_the_most_probable_then_the_first():
    low, unlikely, first, second = ended("l", -0.1), ended("u", -9.0), ended("f"), ended("s")
    found = [Candidate(low, 0.1), Candidate(unlikely, 0.5), Candidate(first, 0.5), Candidate(second, 0.5)]
    assert conclude(found) == SearchResult(first, tuple(found))
    assert conclude([]) == SearchResult(None)


def test_only_what_finished_is_an_unscored_candidate():
    end = ended("a")
    assert unscored([end, ended("b", finished=False)]) == [Candidate(end, -math.inf)]


def test_the_first_of_equal_texts_is_kept_and_one_that_ended_is_another():
    a, again, open_ = ended("a"), ended("a", -2.0), ended("a", finished=False)
    assert distinct([a, again, open_]) == [a, open_]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(1e-3, 1e3))
def test_a_softmax_sums_to_one_and_keeps_the_order(scores, temperature):
    weights = softmax(scores, temperature)
    assert math.fsum(weights) == pytest.approx(1)
    assert weights[scores.index(max(scores))] == max(weights)


def test_a_softmax_is_in_the_ratio_of_the_exponentials():
    assert softmax([0.0, 2 * math.log(3)], 2.0) == pytest.approx([1 / 4, 3 / 4])
    assert softmax([]) == []


def test_shares_are_of_those_that_vote():
    found = [
        Candidate(ended("1", answer="a"), math.log(3)),
        Candidate(ended("2", answer=""), 0.0),
        Candidate(ended("3"), 50.0),
        Candidate(ended("4", answer="a"), -math.inf),
    ]
    assert weighted_shares(found, 1.0) == pytest.approx({"a": 3 / 4, "": 1 / 4})
    assert [one.score for one in weighted_vote(found, 1.0)] == pytest.approx([3 / 4, 1 / 4, 0.0, -math.inf])
    assert weighted_shares([], 1.0) == {}
