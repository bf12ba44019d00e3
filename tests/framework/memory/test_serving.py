"""When a plan is served and when it is withdrawn, without any database."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.memory.journal import DecisionEntry, MeasurementEntry
from trellis.memory.serving import Ledger, ServingConfig, best_to_serve, decide, plan_of, sifted, worth

RULES = ServingConfig(default_share=0)
GOOD = MeasurementEntry(
    "k", "db", "HashJoin(a b)", "faster", 2.0, 1.8, 2.2, 100.0, 50.0, 5, "digest", "arms", "v1", 180004, at=10, id=1
)
SERVE = DecisionEntry("k", "db", "serve", GOOD.hints, "measured faster", 1, at=11, id=1)


def nothing_changed(_):
    return ""


def decision(measurements, decisions=(), drift=nothing_changed):
    return decide("k", "db", measurements, decisions, drift=drift, config=RULES)


def ledger(**rules):
    plan = plan_of(SERVE, [GOOD], RULES)
    return Ledger(plan, ServingConfig(**({"default_share": 0, "window": 3} | rules)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hints": ""}, "it is the default itself"),
        ({"judgement": "undecided"}, "it was found undecided"),
        ({"judgement": "wrong result"}, "it was found wrong result"),
        ({"digest": None}, "not compared"),
        ({"pairs": 2}, "2 pairs, fewer than 3"),
        ({"low": 0.99}, "does not reach 1.1x"),
        ({"speedup": 1.09, "low": 1.05}, "1.09x (1.05 to 2.20 over 5 pairs) does not reach 1.1x"),
        ({"default_ms": 1.5, "median_ms": 0.75}, "it saves 0.75 ms, less than 1 (`min_gain_ms`)"),
    ],
)
def test_a_measurement_must_be_faster_by_a_margin_over_pairs_with_an_equal_result(change, reason):
    assert worth(GOOD, RULES) == ""
    bad = replace(GOOD, **change)
    assert reason in worth(bad, RULES)
    found = decision([bad])
    assert found.action == "keep default"
    assert reason in found.reason


def test_what_is_worth_most_is_served_and_the_reason_says_the_numbers():
    better = replace(GOOD, hints="MergeJoin(a b)", speedup=3.0, low=2.5, high=3.5, median_ms=33.0, id=2)
    found = decision([GOOD, better])
    assert (found.action, found.hints, found.measurement) == ("serve", "MergeJoin(a b)", 2)
    assert found.reason == (
        "measured faster: 3.00x (2.50 to 3.50 over 5 pairs), 100.0 ms by default and 33.0 ms under hints, with an equal result"
    )


def test_the_newest_measurement_of_hints_counts():
    assert decision([GOOD, replace(GOOD, judgement="slower", speedup=0.5, id=2)]).action == "keep default"


def test_a_decision_that_is_right_is_not_taken_again():
    assert decision([GOOD], [SERVE]) is None
    slightly = replace(GOOD, hints="MergeJoin(a b)", speedup=2.1, id=2)
    assert decision([GOOD, slightly], [SERVE]) is None
    much = replace(slightly, speedup=2.5)
    assert decision([GOOD, much], [SERVE]).hints == "MergeJoin(a b)"


def test_a_served_plan_that_a_newer_measurement_contradicts_is_withdrawn():
    found = decision([GOOD, replace(GOOD, judgement="slower", speedup=0.5, id=2)], [SERVE])
    assert (found.action, found.reason, found.measurement) == ("withdraw", "it was found slower", 2)


def test_a_change_withdraws_and_a_measurement_after_it_serves_again():
    found = decision([GOOD], [SERVE], drift=lambda m: "the index i is gone" if m.catalog_version == "v1" else "")
    assert (found.action, found.reason) == ("withdraw", "the index i is gone")
    withdrawn = replace(found, at=20, id=2)
    assert decision([GOOD], [SERVE, withdrawn]) is None
    again = replace(GOOD, at=30, id=2)
    assert decision([GOOD, again], [SERVE, withdrawn]).action == "serve"


@given(
    st.lists(
        st.builds(
            lambda hints, judgement, speedup, low, pairs, at: replace(
                GOOD, hints=hints, judgement=judgement, speedup=speedup, low=low, pairs=pairs, at=at
            ),
            st.sampled_from(["", "HashJoin(a b)", "MergeJoin(a b)"]),
            st.sampled_from(["faster", "slower", "undecided", "wrong result", "timed out"]),
            st.floats(0, 10),
            st.none() | st.floats(0, 10),
            st.integers(0, 5),
            st.floats(0, 100),
        ),
        max_size=6,
    )
)
def test_nothing_unverified_is_ever_served(measurements):
    found = best_to_serve(measurements, [], drift=nothing_changed, config=RULES)
    if found is not None:
        assert found.judgement == "faster"
        assert found.low > 1
        assert found.speedup >= 1.1
        assert found.pairs >= 3
        assert [m for m in measurements if m.hints == found.hints][-1] is found


def test_a_decision_without_a_measurement_behind_it_is_no_plan():
    assert plan_of(SERVE, [GOOD], RULES).timeout_ms == 200.0
    assert plan_of(SERVE, [replace(GOOD, default_ms=3.0, median_ms=1.5)], RULES).timeout_ms == RULES.floor_ms
    assert plan_of(SERVE, [], RULES) is None
    assert plan_of(replace(SERVE, action="withdraw"), [GOOD], RULES) is None


def test_a_plan_is_withdrawn_by_the_median_of_the_newest_executions():
    seen = ledger()
    assert [seen.served(ms) for ms in (500, 60, 60, 60)] == ["", "", "", ""]
    assert seen.served(300) == ""
    assert (
        seen.served(300) == "stopped paying: median 300.0 ms over the last 3 served, the default's is 100.0 ms (3.00x)"
    )
    assert seen.gain_ms == 6 * 100 - (500 + 60 * 3 + 300 * 2)


def test_enough_untouched_executions_take_the_measured_defaults_place():
    seen = ledger(window=5, min_default_samples=3)
    for ms in (300, 310, 320):
        assert seen.untouched(ms) == ""
    assert seen.default_ms == 310
    assert [seen.served(200) for _ in range(6)] == [""] * 6
    assert [reason for reason in map(seen.untouched, (50, 50, 50)) if reason]


def test_one_fallback_withdraws():
    assert "an error: no space" in ledger().fell_back(3.0, "no space")
    seen = ledger()
    assert seen.fell_back(200.0, "") == (
        "fell back to the untouched query: stopped after 200.0 ms, the default was measured at 100.0 ms"
    )
    assert (seen.num_fallbacks, seen.gain_ms) == (1, -200.0)


@pytest.mark.parametrize(("share", "every"), [(0.5, 2), (0.02, 50)])
def test_the_share_that_runs_untouched_is_kept_exactly(share, every):
    seen = ledger(default_share=share)
    assert [n for n in range(1, 101) if seen.next_is_default()] == list(range(every, 101, every))


def test_what_drifted_or_was_withdrawn_is_made_again_and_what_was_never_worth_it_forgotten():
    best = replace(GOOD, hints="MergeJoin(a b)", speedup=3.0, low=2.5, high=3.5, id=2)
    slow = replace(GOOD, hints="NestLoop(a b)", judgement="slower", speedup=0.5, id=3)
    everything = [GOOD, best, slow]

    def looked(cheap=nothing_changed, thorough=nothing_changed, decisions=()):
        return sifted(everything, decisions, drift=cheap, served_drift=thorough, config=RULES)

    assert looked() == (everything, [])
    assert looked(cheap=lambda m: "has grown", thorough=lambda m: "has grown") == ([], [best, GOOD])
    assert looked(thorough=lambda m: "another plan" if m is best else "") == ([GOOD, slow], [best])
    withdrawn = replace(SERVE, action="withdraw", at=12)
    assert looked(decisions=[SERVE, withdrawn]) == ([best, slow], [GOOD])
    everything.append(replace(GOOD, at=13, id=4))
    assert looked(decisions=[SERVE, withdrawn]) == ([best, slow, everything[-1]], [])
