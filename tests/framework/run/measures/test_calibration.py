import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.run.measures import brier_score, expected_calibration_error, fit_logistic, held_out_calibration


def sampled(num, slope, offset, *, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(3.0, 2.0, num)
    return scores, rng.random(num) < 1 / (1 + np.exp(-(slope * scores + offset)))


def test_the_fit_finds_what_the_labels_were_drawn_with():
    fitted = fit_logistic(*sampled(200_000, 0.7, -1.5))
    assert fitted == pytest.approx((0.7, -1.5), abs=0.03)


@given(
    st.lists(st.tuples(st.floats(-5, 5, width=16), st.booleans()), min_size=1, max_size=25),
    st.sampled_from([1.0, 1e-6, 1e6]),
    st.sampled_from([0.0, 1e3]),
)
def test_the_fit_is_a_minimum_whatever_the_unit_of_the_score(pairs, scale, shift):
    scores = np.array([scale * (score + shift) for score, _ in pairs])
    labels = np.array([label for _, label in pairs])
    positive, negative = labels.sum(), (~labels).sum()
    target = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # Where the cross-entropy is least, residuals have mean 0 and are not correlated with the scores.
    residual = fit_logistic(scores, labels).probabilities(scores) - target
    assert abs(residual.mean()) < 1e-4
    assert abs(np.mean(residual * (scores - scores.mean()))) <= 1e-4 * max(scores.std(), 1e-12)


def test_labels_that_scores_separate_leave_the_fit_finite():
    fitted = fit_logistic([-1.0] * 50 + [1.0] * 50, [False] * 50 + [True] * 50)
    assert fitted.probabilities([-1.0, 1.0]) == pytest.approx([1 / 52, 51 / 52])


def test_a_score_that_never_changes_gets_the_base_rate():
    fitted = fit_logistic([4.0] * 100, [True] * 25 + [False] * 75)
    assert fitted.probabilities([4.0]) == pytest.approx([0.25], abs=0.01)
    fitted = fit_logistic([1.5369375856113394] * 3, [False, False, True])
    assert fitted.probabilities([1.5369375856113394]) == pytest.approx([(2 * 0.25 + 2 / 3) / 3])


@pytest.mark.parametrize(
    ("probabilities", "labels", "error"),
    [
        ([0.95, 0.95, 0.15, 0.15], [1, 1, 0, 0], 0.1),
        # One bin: said 0.85 on average, came true half of the time.
        ([0.82, 0.88], [1, 0], 0.35),
        ([1.0, 0.0], [1, 0], 0.0),
        ([1.0, 0.0], [0, 1], 1.0),
        # Two bins of one and three: 0.25 · 0.95 + 0.75 · |1/3 - 0.05|
        ([0.95, 0.05, 0.05, 0.05], [0, 1, 0, 0], 0.25 * 0.95 + 0.75 * (1 / 3 - 0.05)),
    ],
)
def test_the_expected_calibration_error_by_hand(probabilities, labels, error):
    assert expected_calibration_error(probabilities, labels) == pytest.approx(error)


def test_the_brier_score_by_hand():
    assert brier_score([0.9, 0.2, 0.5], [True, False, True]) == pytest.approx((0.01 + 0.04 + 0.25) / 3)


def test_a_score_of_the_right_shape_is_calibrated_on_problems_held_out():
    scores, labels = sampled(20_000, 1.3, -2.0)
    groups = [str(i // 8) for i in range(len(scores))]
    found = held_out_calibration(scores, labels, groups, seed=3)
    assert found.ece < 0.02
    assert found.logistic == pytest.approx((1.3, -2.0), abs=0.15)
    p = found.logistic.probabilities(scores)
    assert found.brier == pytest.approx(np.mean(p * (1 - p)), abs=0.01)


def test_a_score_of_another_shape_is_not():
    scores, _ = sampled(20_000, 1.0, 0.0)
    middle = np.abs(scores - np.median(scores)) < 1.0
    found = held_out_calibration(scores, middle, [str(i) for i in range(len(scores))])
    assert found.brier > 0.2


def test_groups_are_not_split_between_the_halves():
    # What the fit sees of group "a" is not what is measured: each half holds one kind of label only.
    scores, labels, groups = [1.0] * 10 + [-1.0] * 10, [True] * 10 + [False] * 10, ["a"] * 10 + ["b"] * 10
    found = held_out_calibration(scores, labels, groups)
    assert found.brier > 0.8
    assert held_out_calibration(scores, labels, ["a"] * 20) is None
