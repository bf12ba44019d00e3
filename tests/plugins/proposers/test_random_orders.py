"""Random join orders."""

from trellis import build
from trellis.sql import check_hints


def test_orders_alone_are_drawn_by_default(scene):
    found = build("random-orders").propose(scene(), 5, seed=3)
    assert len({proposal.hints for proposal in found}) == 5
    for proposal in found:
        assert proposal.hints.leading
        assert not proposal.hints.joins + proposal.hints.scans
        check_hints(proposal.hints, scene().query, scene().catalog)
    assert found == build("random-orders").propose(scene(), 5, seed=3)
    assert found != build("random-orders").propose(scene(), 5, seed=4)


def test_methods_and_scans_are_drawn_where_asked_for(scene):
    (proposal,) = build("random-orders", {"methods": True, "scans": True}).propose(scene(), 1)
    assert len(proposal.hints.joins) == 3
    assert len(proposal.hints.scans) == 4


def test_a_query_with_few_orders_gets_few(scene, chains):
    everything = build("random-orders").propose(scene(chains["outer"]), 100)
    # (u v) or (v u), then (p t) or (t p) on the right; or the left join first, and v before or after it.
    assert 4 < len(everything) < 20
