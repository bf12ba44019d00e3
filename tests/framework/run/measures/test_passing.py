import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.run.measures import pass_at_k


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_it_is_the_share_of_draws_that_hold_a_correct_one(numbers):
    n, c, k = numbers
    draws = list(itertools.combinations([i < c for i in range(n)], k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_it_is_unbiased(p):
    n, k = 6, 3
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k)


@pytest.mark.parametrize("numbers", [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_what_cannot_be_is_refused(numbers):
    with pytest.raises(ValueError, match=r"0 <= c <= n and 1 <= k <= n"):
        pass_at_k(*numbers)
