"""Arms by matrix completion."""

import numpy as np
import pytest

from trellis import Tried, build
from trellis.sql.reader import parse_query
from trellis_proposers.arms import BAO, arm
from trellis_proposers.completion import complete


def low_rank(rows=30, columns=26, rank=2):
    rng = np.random.default_rng(7)
    return rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))


def test_a_matrix_of_low_rank_is_found_from_half_of_it():
    truth = low_rank()
    known = np.random.default_rng(1).random(truth.shape) < 0.5
    found = complete(truth * known, known, np.zeros_like(known), rank=2, ridge=0.01, rounds=200)
    assert found[known] == pytest.approx(truth[known])
    assert np.abs(found - truth)[~known].mean() < 0.05 * np.abs(truth).mean()


def test_a_censored_value_is_no_higher_than_it_can_have_been():
    truth = low_rank()
    rng = np.random.default_rng(2)
    known = rng.random(truth.shape) < 0.5
    censored = ~known & (rng.random(truth.shape) < 0.5)
    bounds = np.where(known, truth, truth + rng.random(truth.shape))
    found = complete(bounds, known, censored, rank=2, ridge=0.01, rounds=200)
    assert np.all(found[censored] <= bounds[censored] + 1e-9)
    assert np.abs(found - truth)[censored].mean() < 0.1 * np.abs(truth).mean()


def test_what_similar_rows_gained_decides_the_order(scene, chains):
    # Two kinds of queries: arm 1 helps the one, arm 3 the other.
    queries, tried = {}, {}
    for index in range(20):
        kind = 1 if index % 2 else -1
        queries[str(index)] = parse_query(f"SELECT 1 FROM users u, posts p WHERE u.id = p.owner AND u.age > {index}")
        tried[str(index)] = [
            Tried(arm(BAO[1]), 4.0**kind, "measured"),
            Tried(arm(BAO[2]), 4.0**kind, "measured"),
            Tried(arm(BAO[3]), 4.0**-kind, "measured"),
        ]
    proposer = build("completion")
    assert proposer.learn(tried, queries) == {"filled": 4 / 26}
    helped = proposer.propose(scene(tried=[Tried(arm(BAO[1]), 4.0, "faster")]), 2)
    assert helped[0].hints == arm(BAO[2])
    assert helped[0].score > 1
    assert helped[0].source.startswith("completion: ")
    hurt = proposer.propose(scene(tried=[Tried(arm(BAO[1]), 0.25, "slower")]), 2)
    assert hurt[0].hints == arm(BAO[3])


def test_a_query_without_measurements_gets_what_helped_on_average(scene, chains):
    proposer = build("completion")
    elsewhere = [Tried(arm(BAO[4]), 3.0, "faster"), Tried(arm(BAO[2]), 0.5, "slower")]
    proposer.learn({"a": elsewhere}, {"a": scene(chains["outer"]).query})
    found = proposer.propose(scene(), 25)
    assert found[0].hints == arm(BAO[4])
    assert found[-1].hints == arm(BAO[2])
    assert len(found) == 25


def test_before_anything_is_measured_arms_come_in_baos_order(scene):
    found = build("completion").propose(scene(), 4)
    assert [proposal.hints for proposal in found] == [arm(off) for off in BAO[1:5]]
