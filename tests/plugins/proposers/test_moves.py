"""Small changes of the best hints so far."""

import pytest

from trellis import Tried, build
from trellis.sql import Join, check_hints, parse_hints
from trellis.sql.hints import tree_aliases
from trellis_proposers.moves import neighbouring
from trellis_proposers.trees import num_cross_products

EVERYTHING = 10_000


def test_without_anything_faster_the_default_plan_is_changed(scene, measured):
    found = build("moves").propose(scene(tried=[measured("Leading((((t p) v) u))", 0.5)]), EVERYTHING)
    assert all(proposal.source.endswith("in the default plan") for proposal in found)
    assert parse_hints("Leading((((p u) v) t))") in [proposal.hints for proposal in found]
    assert parse_hints("NestLoop(p u) Leading((((u p) v) t))") in [proposal.hints for proposal in found]
    kinds = {proposal.source.partition(" in ")[0] for proposal in found}
    assert kinds == {"moves: another order", "moves: another method", "moves: another scan", "moves: a switch"}


def test_what_was_stopped_is_not_changed(scene, measured):
    stopped = Tried(parse_hints("Leading((((t p) v) u))"), 8.0, "timed out")
    found = build("moves").propose(scene(tried=[stopped, measured("Leading((((u p) t) v))", 1.5)]), EVERYTHING)
    assert {proposal.source.partition(" in ")[2] for proposal in found} == {"what was 1.5x"}


@pytest.mark.parametrize("name", ["chain", "outer"])
def test_every_change_fits_and_adds_no_cross_product(scene, chains, name):
    situation = scene(chains[name])
    found = build("moves").propose(situation, EVERYTHING)
    (block,) = situation.query.blocks
    for proposal in found:
        check_hints(proposal.hints, situation.query, situation.catalog)
        assert num_cross_products(proposal.hints.leading[0].tree, block) == 0
    assert len({proposal.hints for proposal in found}) == len(found) > 10


def test_the_fastest_are_changed_in_turn(scene, measured):
    tried = [
        measured("Leading((((u p) t) v))", 1.5),
        measured("Leading((((t p) v) u))", 3.0),
        measured("Leading((((v p) t) u))", 1.1),
    ]
    found = build("moves", {"bases": 2}).propose(scene(tried=tried), EVERYTHING)
    bases = [proposal.source.partition("what was ")[2] for proposal in found]
    assert bases[:4] == ["3x", "1.5x", "3x", "1.5x"]
    assert set(bases) == {"3x", "1.5x"}
    assert not {proposal.hints for proposal in found} & {one.hints for one in tried}


def test_the_method_of_a_join_that_is_gone_goes_with_it(scene, measured):
    tried = [measured("HashJoin(u p) MergeJoin(u p v) Leading((((u p) v) t))", 2.0)]
    config = {"methods": False, "scans": False, "switches": False}
    found = [p.hints for p in build("moves", config).propose(scene(tried=tried), EVERYTHING)]
    assert parse_hints("HashJoin(u p) Leading((((u p) t) v))") in found
    assert parse_hints("MergeJoin(u p v) Leading((((p v) u) t))") in found


def test_methods_and_switches_are_changed_and_dropped(scene, measured):
    tried = [measured("HashJoin(u p) Leading((((u p) v) t)) Set(enable_seqscan off)", 2.0)]
    found = [str(p.hints) for p in build("moves").propose(scene(tried=tried), EVERYTHING)]
    assert "Leading((((u p) v) t)) Set(enable_seqscan off)" in found
    assert "NestLoop(p u) Leading((((u p) v) t)) Set(enable_seqscan off)" in found
    assert "HashJoin(p u) Leading((((u p) v) t))" in found


def test_the_seed_decides_which_come_first(scene):
    moves = build("moves")
    assert moves.propose(scene(), 5, seed=1) == moves.propose(scene(), 5, seed=1)
    assert moves.propose(scene(), 5, seed=1) != moves.propose(scene(), 5, seed=2)


def test_moves_reach_every_tree_of_three():
    start = Join(Join("a", "b"), "c")
    seen, waiting = {start}, [start]
    while waiting:
        for tree in neighbouring(waiting.pop()):
            assert sorted(tree_aliases(tree)) == ["a", "b", "c"]
            if tree not in seen:
                seen.add(tree)
                waiting.append(tree)
    assert len(seen) == 12


def test_a_real_planner_takes_every_move(real, shop):
    found = build("moves").propose(real, 30)
    assert len(found) == 30
    for proposal in found:
        shop.hinted(real.query, proposal.hints)
