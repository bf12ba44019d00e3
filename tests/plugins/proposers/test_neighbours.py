"""Hints of similar queries, carried over."""

import pytest

from trellis import build
from trellis.sql import check_hints, parse_hints


def hints_of(situation, n=10, **config):
    found = build("neighbours", config).propose(situation, n)
    for proposal in found:
        check_hints(proposal.hints, situation.query, situation.catalog)
    return [proposal.hints for proposal in found]


def test_hints_of_the_same_template_are_renamed(scene, chains, neighbour):
    there = neighbour(chains["renamed"], "HashJoin(a b) IndexScan(a users_pkey) Leading((((a b) c) d))")
    expected = parse_hints("HashJoin(u p) IndexScan(u users_pkey) Leading((((u p) v) t))")
    assert hints_of(scene(neighbours=[there])) == [expected]


def test_of_another_template_common_tables_carry_over(scene, chains, neighbour):
    there = neighbour(chains["other"], "MergeJoin(x y) SeqScan(z) Leading(((x y) z)) Set(enable_sort off)", same=False)
    expected = parse_hints("MergeJoin(p v) SeqScan(u) Leading((((p v) u) t)) Set(enable_sort off)")
    assert hints_of(scene(neighbours=[there])) == [expected]
    assert hints_of(scene(neighbours=[there]), other_templates=False) == []


def test_an_order_is_completed_to_one_that_outer_joins_allow(scene, chains, neighbour):
    there = neighbour(chains["other"], "Leading(((y z) x))", same=False)
    # The common tables would tear the nullable side apart, so the order does not carry over.
    assert hints_of(scene(chains["outer"], neighbours=[there])) == []
    only = neighbour("SELECT 1 FROM users z, votes y WHERE y.voter = z.id", "Leading((y z))", same=False)
    assert hints_of(scene(chains["outer"], neighbours=[only])) == [parse_hints("Leading(((v u) (p t)))")]


def test_what_gained_nothing_there_is_not_proposed(scene, chains, neighbour):
    slow = neighbour(chains["renamed"], "Leading((((a b) c) d))", 1.0)
    none = neighbour(chains["renamed"], "", 3.0)
    assert hints_of(scene(neighbours=[slow, none])) == []


def test_the_most_similar_comes_first_and_equal_hints_come_once(scene, chains, neighbour):
    far = neighbour(chains["renamed"], "Leading((((d b) c) a))", 9.0, 0.5)
    near = neighbour(chains["renamed"], "Leading((((a b) c) d))", 2.0, 0.8)
    found = build("neighbours").propose(scene(neighbours=[far, near, near]), 10)
    assert [str(p.hints) for p in found] == ["Leading((((u p) v) t))", "Leading((((t p) v) u))"]
    assert [p.score for p in found] == [0.8, 0.5]
    assert found[0].source == "neighbours: 2x on one of similarity 0.80"


def test_an_index_that_is_gone_is_left_out(scene, chains, neighbour):
    there = neighbour(chains["renamed"], "IndexScan(a users_old) Leading((((a b) c) d))")
    assert hints_of(scene(neighbours=[there])) == [parse_hints("Leading((((u p) v) t))")]


@pytest.mark.parametrize("n", [0, 1])
def test_at_most_n_are_proposed(scene, chains, neighbour, n):
    there = [neighbour(chains["renamed"], f"Leading(((({x} b) c) {y}))") for x, y in ("ad", "da")]
    assert len(hints_of(scene(neighbours=there), n)) == n
