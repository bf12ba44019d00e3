"""Bao's arms."""

from trellis import Tried, build
from trellis.sql import check_hints


def test_the_five_arms_of_bao_are_the_default_plan_and_four_more(scene):
    found = build("arms").propose(scene(), 10)
    assert [str(proposal.hints) for proposal in found] == [
        "Set(enable_nestloop off)",
        "Set(enable_indexscan off) Set(enable_mergejoin off)",
        "Set(enable_indexscan off) Set(enable_mergejoin off) Set(enable_nestloop off)",
        "Set(enable_mergejoin off)",
    ]
    assert found[0].source == "arms: no nestloop"


def test_all_arms_differ_and_leave_a_join_and_a_scan(scene):
    found = build("arms", {"arms": "bao-26"}).propose(scene(), 30)
    assert len(found) == 25
    for proposal in found:
        off = {switch.name for switch in proposal.hints.switches}
        assert not {"enable_hashjoin", "enable_mergejoin", "enable_nestloop"} <= off
        assert not {"enable_seqscan", "enable_indexscan", "enable_indexonlyscan"} <= off


def test_an_arm_that_was_tried_is_not_proposed_again(scene):
    first, *others = build("arms").propose(scene(), 10)
    assert build("arms").propose(scene(tried=[Tried(first.hints, 0.5, "slower")]), 10) == others


def test_a_real_planner_takes_every_arm(real, shop):
    for proposal in build("arms", {"arms": "bao-26"}).propose(real, 30):
        check_hints(proposal.hints, real.query, real.catalog)
        assert not shop.hinted(real.query, proposal.hints).untouched
