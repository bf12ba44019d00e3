"""Bao's arms by a regression over their plans."""

import pytest

from trellis import Tried, build
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan
from trellis.sql.reader import parse_query
from trellis_proposers.arms import BAO, arm

NOTHING = PlanHints()
NUMBERS = {arm(off): number for number, off in enumerate(BAO)}


def learnt(proposer, gains, queries=10):
    """Teach a proposer by arm's number what each arm gains on every query."""
    texts = {str(i): f"SELECT 1 FROM users u, posts p WHERE u.id = p.owner AND u.age > {i}" for i in range(queries)}
    tried = {key: [Tried(arm(BAO[number]), gain, "measured") for number, gain in gains.items()] for key in texts}
    metrics = proposer.learn(tried, {key: parse_query(sql) for key, sql in texts.items()})
    return metrics


class Planner:
    """Plans as a database would: an arm that turns off nested loops halves the rows, any other doubles them."""

    def explain(self, query, hints=NOTHING):
        off = {switch.name for switch in hints.switches}
        rows = 100.0 if not off else 50.0 if "enable_nestloop" in off else 200.0
        return Plan("Nested Loop" if rows != 50.0 else "Hash Join", est_rows=rows, cost=10 * rows)


def test_the_arm_that_gained_most_comes_first(scene):
    proposer = build("bao", {"thompson": False})
    assert learnt(proposer, {4: 4.0, 1: 2.0, 2: 0.5})["measured"] == 30
    found = proposer.propose(scene(), 25)
    assert [NUMBERS[one.hints] for one in found[:2]] == [4, 1]
    assert NUMBERS[found[-1].hints] == 2
    assert found[0].score == pytest.approx(2.0, abs=0.7)
    assert found[0].source.startswith("bao: ")


def test_what_a_plan_has_in_common_with_others_counts_for_arms_never_measured(scene):
    proposer = build("bao", {"thompson": False, "ridge": 0.1}, database=Planner())
    learnt(proposer, {1: 4.0, 5: 0.25})
    situation = scene(plan_of=lambda hints: Planner().explain(None, hints))
    found = {NUMBERS[one.hints]: one.score for one in proposer.propose(situation, 25)}
    without_nested_loops = [number for number, off in enumerate(BAO) if "nestloop" in off and number != 1]
    others = [number for number in found if "nestloop" not in BAO[number] and number != 5]
    assert min(found[number] for number in without_nested_loops) > max(found[number] for number in others)


def test_arms_with_the_default_plan_are_left_out(scene):
    situation = scene()
    found = build("bao").propose(scene(plan_of=lambda _: situation.plan), 25)
    assert found == []


def test_drawn_weights_differ_by_seed_and_agree_where_much_was_measured(scene):
    unsure = build("bao")
    assert len({unsure.propose(scene(), 1, seed=seed)[0].hints for seed in range(20)}) > 5
    sure = build("bao")
    learnt(sure, {number: 8.0 if number == 3 else 0.5 for number in range(1, len(BAO))}, queries=100)
    assert {sure.propose(scene(), 1, seed=seed)[0].hints for seed in range(20)} == {arm(BAO[3])}


def test_what_failed_counts_as_very_slow(scene):
    proposer = build("bao", {"thompson": False})
    learnt(proposer, {1: 0.0})
    assert NUMBERS[proposer.propose(scene(), 25)[-1].hints] == 1


def test_what_was_stopped_is_slower_than_its_bound(scene):
    proposer = build("bao", {"thompson": False})
    texts = {str(i): f"SELECT 1 FROM users u, posts p WHERE u.id = p.owner AND u.age > {i}" for i in range(30)}
    one = [Tried(arm(BAO[1]), 2.0, "faster"), Tried(arm(BAO[2]), 3.0, "timed out"), Tried(arm(BAO[3]), 0.5, "slower")]
    proposer.learn(dict.fromkeys(texts, one), {key: parse_query(sql) for key, sql in texts.items()})
    found = {NUMBERS[proposal.hints]: proposal.score for proposal in proposer.propose(scene(), 25)}
    assert found[3] < found[2] < found[1]
