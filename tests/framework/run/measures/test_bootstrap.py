import itertools

import numpy as np
import pytest

from trellis.run.measures import paired_bootstrap


def test_the_interval_is_that_of_all_resamples():
    differences = [3.0, -1.0, 0.5, 2.0]
    everything = [np.mean(draw) for draw in itertools.product(differences, repeat=4)]
    found = paired_bootstrap([5.0, 1.0, 2.5, 2.0], [2.0, 2.0, 2.0, 0.0], num=200_000)
    assert found.difference == pytest.approx(np.mean(differences))
    assert found[1:] == pytest.approx(np.quantile(everything, [0.025, 0.975]), abs=0.02)


def test_whole_clusters_are_drawn():
    # The clusters' sums are 3 - 1 and 0.5, of 2 and 1 problems: a resample of two clusters has one of three means.
    found = paired_bootstrap([3.0, 0.5, -1.0], [0.0] * 3, clusters=["x", "y", "x"], num=20_000)
    assert found == (pytest.approx(2.5 / 3), 0.5, 1.0)


def test_outcomes_repeated_under_another_seed_narrow_nothing_once_they_are_clusters():
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 200)).astype(float)
    once = paired_bootstrap(a, b)
    naive = paired_bootstrap(np.tile(a, 4), np.tile(b, 4))
    clustered = paired_bootstrap(np.tile(a, 4), np.tile(b, 4), clusters=[*range(200)] * 4)
    assert clustered == once
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_it_agrees_with_the_normal_interval_of_many_problems():
    rng = np.random.default_rng(1)
    a, b = (rng.random((2, 2000)) < [[0.6], [0.5]]).astype(float)
    found = paired_bootstrap(a, b)
    half = 1.96 * np.std(a - b) / np.sqrt(2000)
    assert found == pytest.approx((np.mean(a - b), np.mean(a - b) - half, np.mean(a - b) + half), abs=0.003)


def test_equal_outcomes_differ_by_nothing_and_a_seed_fixes_the_interval():
    assert paired_bootstrap([1.0, 0.0], [1.0, 0.0]) == (0.0, 0.0, 0.0)
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 30))
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)


def test_draws_in_chunks_fill_the_number_asked_for(monkeypatch):
    at_once = paired_bootstrap([3.0, -1.0, 0.5, 2.0], [0.0] * 4, num=501)
    monkeypatch.setattr("trellis.run.measures.bootstrap._CHUNK", 10)
    assert paired_bootstrap([3.0, -1.0, 0.5, 2.0], [0.0] * 4, num=501) == at_once


@pytest.mark.parametrize(("a", "b", "clusters"), [([], [], None), ([1.0], [], None), ([1.0], [1.0], ["x", "y"])])
def test_what_cannot_be_paired_is_refused(a, b, clusters):
    with pytest.raises(ValueError, match="cannot be paired: give one of each per problem"):
        paired_bootstrap(a, b, clusters=clusters)
