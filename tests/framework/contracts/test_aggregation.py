import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.contracts import Aggregate, aggregate

HOWS = get_args(Aggregate)


@pytest.mark.parametrize(
    ("how", "expected"), [("last", 0.25), ("min", 0.25), ("mean", 0.5), ("sum", 1.5), ("product", 0.09375)]
)
def test_each_way(how, expected):
    assert aggregate([0.75, 0.5, 0.25], how) == expected


@pytest.mark.parametrize("how", HOWS)
def test_no_steps_rank_below_everything(how):
    assert aggregate([], how) == -math.inf


@pytest.mark.parametrize("how", HOWS)
@given(score=st.floats(-1e6, 1e6))
def test_one_step_is_its_own_score(how, score):
    assert aggregate([score], how) == score


@given(scores=st.lists(st.floats(-1e6, 1e6), min_size=1), better=st.floats(0, 1e3))
def test_a_better_last_step_never_ranks_lower(scores, better):
    improved = [*scores[:-1], scores[-1] + better]
    assert all(aggregate(improved, how) >= aggregate(scores, how) for how in ("last", "min", "mean", "sum"))


def test_the_sum_keeps_small_scores_beside_large_ones():
    assert aggregate([1e16, 1.0, -1e16], "sum") == 1.0
