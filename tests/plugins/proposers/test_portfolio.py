"""Several proposers, and what each one's proposals were worth."""

import pytest

from trellis import Proposal, Proposer, Tried, build
from trellis.sql import parse_hints

ALL_ORDERS = [
    "Leading((((u p) v) t))",
    "Leading((((p u) v) t))",
    "Leading((((u p) t) v))",
    "Leading((((p u) t) v))",
    "Leading((((v p) t) u))",
    "Leading((((p v) t) u))",
]


class Said(Proposer):
    """Says what it was given."""

    def __init__(self, source, texts):
        self.source, self.texts, self.learnt = source, texts, None

    def propose(self, situation, n, *, seed=0):
        return [Proposal(parse_hints(text), self.source, 1.0) for text in self.texts][:n]

    def learn(self, tried, queries, *, seed=0):
        self.learnt = tried
        return {"seen": float(len(tried))}


def portfolio(config=None, **proposers):
    return build("portfolio", config or {}, proposers=proposers)


def names(found):
    return [proposal.source.partition(":")[0] for proposal in found]


def gained(source, speedup):
    return Tried(parse_hints("Set(enable_sort off)"), speedup, "faster" if speedup > 1 else "slower", source=source)


def test_before_anything_is_measured_they_take_turns(scene):
    one, other = Said("one: x", ALL_ORDERS[:3]), Said("y", ALL_ORDERS[3:])
    found = portfolio(one=one, other=other).propose(scene(), 10)
    assert names(found) == ["one", "other"] * 3
    assert [proposal.source for proposal in found[:2]] == ["one: x", "other: y"]
    assert {proposal.score for proposal in found} == {None}


def test_what_two_say_is_proposed_once_and_costs_the_second_nothing(scene):
    one, other = Said("one", ALL_ORDERS[:3]), Said("other", ALL_ORDERS[:6])
    found = portfolio(one=one, other=other).propose(scene(), 10)
    assert len({proposal.hints for proposal in found}) == len(found) == 6
    assert names(found)[:2] == ["one", "other"]


def test_shares_follow_what_proposals_were_worth(scene):
    both = portfolio({"least": 0.2, "trust": 1.0}, one=Said("one", []), other=Said("other", []))
    shares = both.shares([[gained("one: a", 4.0)], [gained("other: b", 0.5), gained("elsewhere", 9.0)]])
    # Worth of all 1, of one (2 + 1) / 2, of other (0 + 1) / 2.
    assert shares == pytest.approx({"one": 0.1 + 0.8 * 0.75, "other": 0.1 + 0.8 * 0.25})
    assert sum(shares.values()) == pytest.approx(1)


def test_the_better_one_speaks_first_and_more_often(scene):
    one, other = Said("one", ALL_ORDERS[:3]), Said("other", ALL_ORDERS[3:])
    tried = [gained("other: z", 2.0**n) for n in range(1, 6)] + [gained("one: z", 0.4)] * 5
    found = portfolio(one=one, other=other).propose(scene(tried=tried), 4)
    assert names(found) == ["other", "one", "other", "other"]


def test_a_proposal_is_worth_what_it_adds_to_the_best_before_it():
    both = portfolio({"least": 0.0, "trust": 1.0}, one=Said("one", []), other=Said("other", []))
    shares = both.shares([[gained("one: a", 4.0), gained("other: b", 8.0), gained("other: c", 6.0)]])
    # Of one 2, of other 1 and 0, the mean of all 1: (2 + 1) / 2 and (1 + 1) / 3.
    assert shares == pytest.approx({"one": 1.5 / (1.5 + 2 / 3), "other": 2 / 3 / (1.5 + 2 / 3)})


def test_what_was_stopped_is_worth_nothing_whatever_bounds_it():
    both = portfolio({"least": 0.0, "trust": 1.0}, one=Said("one", []), other=Said("other", []))
    stopped = Tried(parse_hints("Set(enable_sort off)"), 50.0, "timed out", source="one: a")
    assert both.shares([[stopped, gained("other: b", 2.0)]])["other"] > 0.7


def test_what_was_learnt_of_other_queries_counts_and_is_derived_anew_after_a_restart(scene, chains):
    situation = scene()
    elsewhere = scene(chains["outer"]).query
    tried = {"a": [gained("other: z", 8.0)] * 5, "b": [gained("one: z", 0.4)] * 5}
    queries = {"a": elsewhere, "b": situation.query}
    parts = {"one": Said("one", ALL_ORDERS[:3]), "other": Said("other", ALL_ORDERS[3:])}
    first, again = portfolio(**parts), portfolio(**parts)
    metrics = first.learn(tried, queries)
    assert metrics["one/seen"] == 2.0
    assert metrics["other/share"] > metrics["one/share"]
    again.learn(tried, queries)
    assert first.propose(situation, 4) == again.propose(situation, 4)
    assert names(first.propose(situation, 4))[0] == "other"


def test_a_portfolio_of_portfolios_credits_both(scene):
    inner = portfolio(deep=Said("deep", ALL_ORDERS[:3]))
    outer = portfolio(inner=inner, other=Said("other", []))
    (first, *_) = outer.propose(scene(), 2)
    assert first.source == "inner: deep"
    measured = [Tried(first.hints, 4.0, "faster", source=first.source), gained("other", 0.5)]
    assert inner.shares([measured]) == {"deep": 1.0}
    assert outer.shares([measured])["inner"] > outer.shares([measured])["other"]


def test_real_proposers_are_merged(real, shop):
    parts = {"arms": build("arms"), "moves": build("moves"), "random": build("random-orders")}
    found = build("portfolio", proposers=parts).propose(real, 9, seed=1)
    assert sorted(names(found)) == ["arms"] * 3 + ["moves"] * 3 + ["random"] * 3
    for proposal in found:
        shop.hinted(real.query, proposal.hints)
