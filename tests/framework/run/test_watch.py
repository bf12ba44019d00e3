"""What the watch over training finds, when it says so, and what it says."""

import json

import pytest

from trellis.run.stages.config import WatchConfig
from trellis.run.watch import DETECTORS, Watch


class Settings:
    kl_weight = 0.0
    learning_rate = 1e-3


def watch(**thresholds):
    return Watch(WatchConfig(**{"window": 4, **thresholds}), parts={"optimizer": ("grpo", Settings())})


def seen(over, metric_rows):
    return [(step, found.kind) for step, row in enumerate(metric_rows, start=1) for found in over.see(row)]


def rows(metric, values):
    return [{metric: value} for value in values]


GOOD = {
    "entropy": 0.5,
    "tokens": 30.0,
    "steps": 4.0,
    "accuracy": 0.6,
    "finished": 0.9,
    "reward/expert_accuracy": 0.9,
    "reward/policy_accuracy": 0.99,
}
CASES = {
    "entropy-collapse": {"entropy": 0.04},
    "entropy-blow-up": {"entropy": 1.6},
    "discriminator-saturation": {"reward/expert_accuracy": 0.99, "reward/policy_accuracy": 0.985},
    "length-drift": {"tokens": 46.0},
    "steps-drift": {"steps": 2.5},
    "success-collapse": {"accuracy": 0.29},
    "out-of-tokens": {"finished": 0.4},
}


def test_a_run_that_wavers_as_runs_do_is_left_alone():
    wavering = [{name: value * (1 + 0.09 * (-1) ** step) for name, value in GOOD.items()} for step in range(50)]
    assert seen(watch(), wavering) == []


@pytest.mark.parametrize("kind", CASES)
def test_each_way_to_go_wrong_is_told_alone_and_once(kind):
    assert set(CASES) == {detector.name for detector in DETECTORS}
    found = seen(watch(), [GOOD] * 6 + [GOOD | CASES[kind]] * 20)
    assert [name for _, name in found] == [kind]
    assert 7 <= found[0][0] <= 10


@pytest.mark.parametrize("kind", CASES)
def test_it_is_told_again_only_after_it_has_recovered(kind):
    over = watch()
    bad = GOOD | CASES[kind]
    assert [k for _, k in seen(over, [GOOD] * 6 + [bad] * 6)] == [kind]
    # One better step is no recovery of a mean over four.
    assert seen(over, [GOOD | bad] + [bad] * 6) == []
    assert seen(over, [GOOD] * 6) == []
    assert [k for _, k in seen(over, [bad] * 6)] == [kind]


def test_before_there_is_a_whole_window_nothing_is_told():
    assert seen(watch(window=10), rows("entropy", [1.0] + [0.001] * 8)) == []
    assert seen(watch(window=10), [CASES["discriminator-saturation"]] * 9) == []


def test_what_an_optimizer_does_not_report_is_not_missed():
    assert seen(watch(), [{"loss": 1.0}] * 20) == []


def test_success_is_compared_with_the_best_and_not_with_chance():
    up_and_down = [0.1] * 4 + [0.9] * 4 + [0.3] * 6
    assert [kind for _, kind in seen(watch(), rows("accuracy", up_and_down))] == ["success-collapse"]
    assert seen(watch(), rows("accuracy", [0.04] * 4 + [0.0] * 8)) == []


def test_a_drift_counts_in_both_directions():
    for values in ([10.0] * 6 + [16.0] * 6, [16.0] * 6 + [10.0] * 6):
        assert [kind for _, kind in seen(watch(), rows("tokens", values))] == ["length-drift"]


def test_the_message_has_the_numbers_the_cause_and_the_fields_with_what_they_are_now():
    over = watch(window=2)
    (found,) = [f for row in rows("entropy", [0.5, 0.5, 0.02, 0.02]) for f in over.see(row)]
    assert found.message == (
        "entropy is 0.02 nats per token, and was 0.5 at first, over the last 2 steps. The policy writes nearly the same "
        "every time, and equal rollouts teach nothing. To mend it, raise `components.grpo.with.kl_weight` (now 0.0), or "
        "lower `components.grpo.with.learning_rate` (now 0.001). `thresholds.entropy_fall` (0.1) sets when this is said"
    )
    over = Watch(WatchConfig(window=2), parts={})
    (found,) = [f for row in rows("finished", [0.1, 0.1]) for f in over.see(row)]
    assert "To mend it, raise the optimizer's max tokens, or raise the optimizer's kl weight." in found.message


@pytest.mark.parametrize("cut", range(0, 30, 3))
def test_a_watch_restored_at_any_step_finds_what_one_never_stopped_finds(cut):
    run = [GOOD] * 6 + [GOOD | CASES["entropy-collapse"]] * 6 + [GOOD] * 6 + [GOOD | CASES["entropy-collapse"]] * 12
    whole, first, second = watch(), watch(), watch()
    expected = [(step, found) for step, row in enumerate(run) for found in whole.see(row)]
    assert len(expected) == 2
    found = [(step, f) for step, row in enumerate(run[:cut]) for f in first.see(row)]
    second.restore(json.loads(json.dumps(first.state())))
    found += [(step, f) for step, row in enumerate(run[cut:], start=cut) for f in second.see(row)]
    assert found == expected
