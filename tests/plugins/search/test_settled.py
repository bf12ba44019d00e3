import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.types import Candidate, Problem, Trajectory
from trellis_best_of_n.settled import (
    best_stays_probability,
    lead_probability,
    rounds,
    share_lead_probability,
    vote_lead_probability,
)

votes = st.integers(0, 60)


@given(votes, votes)
def test_the_lead_s_probability_is_the_tail_of_a_fair_coin(v1, v2):
    """1 - I_{1/2}(v1 + 1, v2 + 1) = P(Bin(v1 + v2 + 1, 1/2) <= v1) for whole numbers."""
    v1, v2 = max(v1, v2), min(v1, v2)
    tosses = v1 + v2 + 1
    exact = 1 - sum(math.comb(tosses, k) for k in range(v2 + 1)) / 2**tosses
    assert lead_probability(v1, v2) == pytest.approx(exact, abs=1e-12)


@given(st.floats(0, 50), st.floats(0, 50))
def test_the_lead_s_probability_grows_with_the_lead_between_whole_numbers_too(v1, v2):
    v1, v2 = max(v1, v2), min(v1, v2)
    assert 0.5 - 1e-12 <= lead_probability(v1, v2) <= lead_probability(v1 + 0.5, v2) + 1e-12 <= 1 + 1e-12


def test_a_lead_that_cannot_be_closed_is_certain():
    assert vote_lead_probability([3, 5], num_left=1) == 1.0
    assert vote_lead_probability([3, 5], num_left=2) == pytest.approx(lead_probability(5, 3))
    assert vote_lead_probability([], num_left=4) == pytest.approx(0.5)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0.1, 10))
def test_equal_weights_count_as_votes(counts, weight):
    shares = [count / sum(counts) for count in counts]
    found = share_lead_probability(shares, [weight] * sum(counts))
    assert found == pytest.approx(vote_lead_probability(counts, num_left=100))


def candidates(answers):
    return [Candidate(Trajectory(Problem("p", ""), "", finished=True, answer=answer), 0.0) for answer in answers]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [("aab", 0.25 + 0.75 * 3 / 4), ("aba", 0.25 + 0.75 * 2 / 3), ([None, None], 0.25 + 0.75 * 2 / 3), ("", 0.0)],
)
def test_the_best_stays_if_those_below_it_agree(answers, expected):
    assert best_stays_probability(candidates(answers), num_drawn=4, n=16) == pytest.approx(expected)


def test_the_best_of_all_samples_stays_for_certain():
    assert best_stays_probability(candidates("ab"), num_drawn=16, n=16) == 1.0


@given(st.integers(1, 50), st.integers(1, 60))
def test_rounds_draw_n_in_all(n, batch):
    assert list(rounds(n, batch=batch, settle=None)) == [n]
    sizes = list(rounds(n, batch=batch, settle=0.9))
    assert sum(sizes) == n
    assert 1 <= min(sizes) <= max(sizes) <= batch
