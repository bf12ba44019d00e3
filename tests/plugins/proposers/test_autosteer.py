"""Switches merged greedily."""

from trellis import Tried, build
from trellis.sql import SWITCHES, Plan, parse_hints


def texts(situation, **config):
    return [str(proposal.hints) for proposal in build("autosteer", config).propose(situation, 100)]


def test_single_switches_come_first_and_unions_of_faster_ones_after(scene, measured):
    assert texts(scene()) == [f"Set({name} off)" for name in SWITCHES]
    tried = [
        measured("Set(enable_sort off)", 1.2),
        measured("Set(enable_nestloop off)", 3.0),
        measured("Set(enable_hashjoin off)", 0.4),
        measured("Set(enable_memoize off)", 2.0),
    ]
    found = texts(scene(tried=tried))
    assert len(found) == len(SWITCHES) - 4 + 3
    assert found[-3:] == [
        "Set(enable_memoize off) Set(enable_nestloop off)",
        "Set(enable_nestloop off) Set(enable_sort off)",
        "Set(enable_memoize off) Set(enable_sort off)",
    ]


def test_what_was_stopped_is_merged_with_nothing(scene, measured):
    stopped = Tried(parse_hints("Set(enable_sort off)"), 8.0, "timed out")
    assert all(" S" not in text for text in texts(scene(tried=[stopped, measured("Set(enable_nestloop off)", 3.0)])))


def test_sets_grow_to_the_largest_allowed(scene, measured):
    tried = [measured("Set(enable_memoize off) Set(enable_nestloop off)", 3.0), measured("Set(enable_sort off)", 1.5)]
    union = "Set(enable_memoize off) Set(enable_nestloop off) Set(enable_sort off)"
    assert union in texts(scene(tried=tried))
    assert union not in texts(scene(tried=tried), largest=2)


def test_a_switch_that_changes_no_plan_is_not_tried(scene):
    situation = scene()

    def plan_of(hints):
        return Plan("other") if "nestloop" in str(hints) else situation.plan

    assert texts(scene(plan_of=plan_of)) == ["Set(enable_nestloop off)"]


def test_on_a_real_planner_only_switches_that_matter_are_left(real, shop):
    found = build("autosteer").propose(real, 100)
    assert 0 < len(found) < len(SWITCHES)
    for proposal in found:
        assert shop.explain(real.query, proposal.hints).shape() != real.plan.shape()
