import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.run.measures import StepAUC, auc, spearman, step_auc, within_problem_auc
from trellis.types import Outcome, Problem, Rollout, Step, Trajectory

SCORES = st.sampled_from([-3.0, -0.5, 0.0, 0.5, 0.5000001, 2.0, 1e9])


@given(st.lists(st.tuples(SCORES, st.booleans()), max_size=30))
def test_auc_is_the_share_of_pairs_in_order_and_ties_count_half(pairs):
    right, wrong = ([s for s, label in pairs if label is wanted] for wanted in (True, False))
    compared = [(good > bad) + 0.5 * (good == bad) for good, bad in itertools.product(right, wrong)]
    expected = pytest.approx(sum(compared) / len(compared)) if compared else None
    assert auc([s for s, _ in pairs], [label for _, label in pairs]) == expected


def rollout(problem, correct):
    return Rollout(Trajectory(Problem(problem, problem), problem), Outcome(correct, float(correct)))


@pytest.mark.parametrize(
    ("problems", "outcomes", "scores", "auc"),
    [
        ("aaa", [1, 0, 0], [3, 1, 2], 1.0),
        ("aaa", [1, 0, 0], [1, 1, 2], 0.25),
        ("aa", [1, 0], [1, 2], 0.0),
        # Between problems nothing is compared: b's correct one may score less than a's incorrect one.
        ("aabb", [1, 0, 1, 0], [9, 8, 2, 1], 1.0),
        # A mean over problems, not over pairs.
        ("aaaabb", [1, 0, 0, 0, 1, 0], [9, 1, 2, 3, 1, 2], 0.5),
        # b says nothing: all of its rollouts are correct.
        ("aabb", [1, 0, 1, 1], [1, 0, 0, 0], 1.0),
        ("ab", [1, 0], [1, 0], None),
        ("", [], [], None),
    ],
)
def test_auc_counts_pairs_within_a_problem(problems, outcomes, scores, auc):
    rollouts = [rollout(problem, bool(correct)) for problem, correct in zip(problems, outcomes, strict=True)]
    assert within_problem_auc(rollouts, scores) == auc


def test_step_auc_pools_all_steps_and_compares_within_problems():
    def of(problem, steps):
        return Rollout(Trajectory(Problem(problem, problem), problem, (Step("s"),) * steps), Outcome(False, 0.0))

    rollouts = [of("easy", 2), of("easy", 1), of("hard", 2), of("none", 0)]
    scores = [[5.0, 4.0], [4.5], [2.0, 1.0], []]
    labels = [[True, False], [True], [True, False], []]
    # Pooled: 5, 4.5 and 2 against 4 and 1 are in order in 5 of 6 pairs; within each problem in all of them.
    assert step_auc(rollouts, scores, labels) == StepAUC(pytest.approx(5 / 6), 1.0)
    assert step_auc(rollouts[1:2], scores[1:2], labels[1:2]) == StepAUC(None, None)


@pytest.mark.parametrize(("scores", "labels"), [([[1.0]], [[True, False]]), ([[1.0, 2.0]], [[True]])])
def test_a_step_without_its_score_or_label_is_named(scores, labels):
    one = Rollout(Trajectory(Problem("p7", "p"), "p", (Step("a"), Step("b"))), Outcome(False, 0.0))
    with pytest.raises(ValueError, match="problem p7: 2 steps, "):
        step_auc([one], scores, labels)


@pytest.mark.parametrize(
    ("first", "second", "rho"),
    [
        ([1, 2, 3, 4], [10, 100, 1000, 1e6], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        # Wikipedia, "Spearman's rank correlation coefficient": IQ and hours of television of ten people, -29/165.
        ([86, 97, 99, 100, 101, 103, 106, 110, 112, 113], [2, 20, 28, 27, 50, 29, 7, 17, 6, 12], -29 / 165),
        ([1, 1, 2], [1, 2, 3], 3**0.5 / 2),
        ([1, 1, 1], [1, 2, 3], None),
        ([1], [1], None),
        ([], [], None),
    ],
)
def test_spearman_s_correlation(first, second, rho):
    assert spearman(first, second) == (None if rho is None else pytest.approx(rho))
    assert spearman(second, first) == spearman(first, second)


@given(st.lists(SCORES, min_size=2, max_size=20), st.randoms())
def test_spearman_looks_at_order_alone(values, random):
    other = values.copy()
    random.shuffle(other)
    changed = list(np.arctan(values))
    assert spearman(changed, other) == pytest.approx(spearman(values, other)) or spearman(values, other) is None
