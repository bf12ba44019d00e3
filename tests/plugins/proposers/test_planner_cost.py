"""Orders by the planner's own cost."""

from trellis import Tried, build
from trellis.sql import Plan


def test_a_real_planner_ranks_orders_and_each_plan_comes_once(real, shop):
    found = build("planner-cost").propose(real, 10, seed=3)
    assert len(found) > 3
    plans = [shop.explain(real.query, proposal.hints) for proposal in found]
    costs = [plan.cost for plan in plans]
    assert costs == sorted(costs)
    assert [proposal.score for proposal in found] == [-cost for cost in costs]
    shapes = [plan.shape() for plan in plans]
    assert len({*shapes, real.plan.shape()}) == len(found) + 1


def test_what_was_tried_and_what_makes_the_same_plan_is_left_out(real):
    from dataclasses import replace

    first, second, *_ = build("planner-cost").propose(real, 10, seed=3)
    again = replace(real, tried=[Tried(first.hints, 0.5, "slower")])
    assert build("planner-cost").propose(again, 10, seed=3)[0] == second


def test_descent_finds_what_samples_alone_do_not(scene):
    def plan_of(hints):
        # Cheap is what reads votes first, and cheaper what reads tags last.
        text = str(hints)
        cost = 100.0 - 50 * ("(v p)" in text) - 25 * text.endswith("t))")
        return Plan(text, alias=text, cost=cost)

    config = {"samples": 1, "rounds": 0}
    situation = scene(plan_of=plan_of)
    (alone,) = build("planner-cost", config).propose(situation, 1, seed=1)
    (best,) = build("planner-cost", {"samples": 1, "rounds": 8, "width": 40}).propose(situation, 1, seed=1)
    assert alone.score < best.score == -25.0


def test_without_a_planner_there_is_nothing_to_say(scene):
    assert build("planner-cost").propose(scene(), 5) == []
