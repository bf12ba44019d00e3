import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from trellis.contracts import Extend, Score
from trellis.errors import BudgetExhausted
from trellis.types import Problem, SearchResult, Step, Trajectory
from trellis_mcts.config import MctsConfig
from trellis_mcts.mcts import Mcts
from trellis_mcts.tree import Tree

ROOT = Trajectory(Problem("p", "spell"), "spell\n")


def grow(prefix, text, log_prob=-1.0, **flags):
    return replace(prefix, steps=(*prefix.steps, Step(text, (1,), (log_prob,))), **flags)


def start(**settings):
    process = Mcts(MctsConfig(**settings)).search(ROOT)
    return process, next(process)


def conclude(process, answer=None):
    """Send the last answer, or say that the budget is spent, and return the result."""
    with pytest.raises(StopIteration) as end:
        process.throw(BudgetExhausted("calls")) if answer is None else process.send(answer)
    return end.value.value


def expand(tree, scores):
    """Select a leaf, give it a child of each text and score, and back up; return the leaf and its new children.

    Continuations it wants beyond those are cut.
    """
    leaf = tree.select()
    new = [node for text in scores for node in tree.add(leaf, grow(leaf.trajectory, text))]
    for _ in range(leaf.num_wanted - len(scores)):
        tree.add(leaf, grow(leaf.trajectory, "?", cut=True))
    for node, score in zip(new, scores.values(), strict=True):
        node.score = score
    tree.expanded([leaf])
    tree.back_up()
    return leaf, new


def test_the_root_is_expanded_first_and_each_new_prefix_is_scored_once():
    process, request = start(root_children=4, temperature=0.8)
    assert request == Extend((ROOT,), n=4, until="step", temperature=0.8)
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    assert process.send([[a, b, grow(ROOT, "a", -9.0), grow(ROOT, "c", cut=True)]]) == Score((a, b))


def test_leaves_of_one_round_are_different_and_share_one_request():
    process, _ = start(root_children=3, children=2, batch=2)
    a, b, c = (grow(ROOT, text) for text in "abc")
    process.send([[a, b, c]])
    assert process.send([[0.1], [0.9], [0.5]]) == Extend((b, c), n=2)


def test_selection_maximises_puct():
    tree = Tree(ROOT, MctsConfig(standardise=False, c_puct=1.0))
    _, (a, b) = expand(tree, {"a": 0.5, "b": 0.6})
    for _ in range(3):
        tree.add(tree.root, grow(ROOT, "a"))
    assert (a.count, b.count) == (4, 1)
    # Q + c P √N / (1 + n) with N = 1: 0.5 + 4/5 and 0.6 + 1/5.
    assert tree.puct(a) == pytest.approx(1.3)
    assert tree.puct(b) == pytest.approx(0.8)
    assert tree.select() is a
    # The visit counts before its value is there: 0.5 + 4/5 √2 / 2 and 0.6 + 1/5 √2.
    assert tree.puct(a) == pytest.approx(0.5 + 0.8 * math.sqrt(2) / 2)
    assert tree.puct(b) == pytest.approx(0.6 + 0.2 * math.sqrt(2))
    assert tree.select() is b


def test_a_uniform_prior_does_not_count_duplicates():
    tree = Tree(ROOT, MctsConfig(standardise=False, prior="uniform", c_puct=2.0))
    _, (a, b) = expand(tree, {"a": 0.0, "b": 0.0})
    tree.add(tree.root, grow(ROOT, "a"))
    assert tree.puct(a) == tree.puct(b) == pytest.approx(1.0)


def test_a_pending_visit_sends_the_next_selection_elsewhere():
    tree = Tree(ROOT, MctsConfig(standardise=False, c_puct=1.0, backup="max"))
    expand(tree, {"a": 0.4, "b": 0.3})
    a, _ = expand(tree, {"x": 0.4, "y": 0.4})
    # a: 0.4 + 1/2 √2 / 2 against b: 0.3 + 1/2 √2: b's turn, then below a, though nothing was answered.
    assert [tree.select().trajectory.text for _ in range(3)] == ["b", "ax", "ay"]
    assert tree.select() is None
    assert (tree.root.num_visits, a.num_visits) == (5, 3)


@pytest.mark.parametrize(("how", "values"), [("max", (0.9, 0.3)), ("mean", ((0.6 + 0.9 + 0.0) / 3, 0.3))])
def test_values_are_backed_up(how, values):
    tree = Tree(ROOT, MctsConfig(standardise=False, backup=how))
    _, (a, b) = expand(tree, {"a": 0.6, "b": 0.3})
    leaf, _ = expand(tree, {"x": 0.9, "y": 0.0})
    assert leaf is a
    assert (a.value, b.value) == pytest.approx(values)


def test_the_best_child_replaces_what_its_parent_seemed_to_be_worth():
    tree = Tree(ROOT, MctsConfig(standardise=False))
    _, (a,) = expand(tree, {"a": 0.9})
    expand(tree, {"x": -0.2, "y": -0.1})
    assert a.value == -0.1


def test_values_are_standardised_over_all_nodes_of_a_depth():
    tree = Tree(ROOT, MctsConfig(backup="mean", c_puct=100.0))
    _, (a, b) = expand(tree, {"a": 10.0, "b": 20.0})
    assert (a.value, b.value) == (-1.0, 1.0)
    _, (x, y) = expand(tree, {"x": -5.0, "y": -7.0})
    assert (x.value, y.value) == (1.0, -1.0)
    leaf, _ = expand(tree, {"z": -6.0})
    assert leaf is a
    assert x.value == pytest.approx(1 / math.sqrt(2 / 3))


def test_equal_scores_are_all_average():
    tree = Tree(ROOT, MctsConfig())
    _, children = expand(tree, {"a": 0.1 + 0.2, "b": 0.3})
    assert [child.value for child in children] == pytest.approx([0.0, 0.0])


def test_without_widening_a_node_is_expanded_once():
    tree = Tree(ROOT, MctsConfig(root_children=1, children=1))
    expand(tree, {"a": 0.0})
    tree.root.num_visits = 100
    assert tree.num_missing(tree.root) == 0


def test_widening_follows_the_visits():
    tree = Tree(ROOT, MctsConfig(root_children=2, widening=2.0, widening_exponent=0.5))
    assert tree.num_missing(tree.root) == 2
    expand(tree, {"a": 0.0, "b": 0.0})
    # 2 + 2 √1 may be there, 2 are.
    assert tree.num_missing(tree.root) == 2
    assert tree.select() is tree.root
    assert tree.root.num_wanted == 2


def test_a_leaf_that_wants_more_than_another_stands_in_the_request_more_than_once():
    process, _ = start(root_children=2, children=3, widening=1.0, batch=2)
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    process.send([[a, b]])
    assert process.send([[0.9], [0.1]]) == Extend((ROOT, a, a, a), n=1)


def test_finished_trajectories_are_never_expanded_and_an_exhausted_tree_ends_the_search():
    process, _ = start(root_children=2, children=2, batch=4, simulations=100)
    a, end = grow(ROOT, "a"), grow(ROOT, "z", finished=True)
    process.send([[a, end]])
    assert process.send([[0.1], [0.9]]) == Extend((a,), n=2)
    better = grow(a, "b", finished=True)
    process.send([[better, grow(a, "c", cut=True)]])
    result = conclude(process, [[0.1, 0.95]])
    assert result.best == better
    assert [(one.trajectory, one.score) for one in result.candidates] == [(end, 0.9), (better, 0.95)]


def test_a_text_that_ended_once_and_went_on_another_time_is_two_nodes():
    process, _ = start(root_children=2)
    end, a = grow(ROOT, "a", finished=True), grow(ROOT, "a")
    assert process.send([[end, a]]) == Score((end, a))


def test_no_more_leaves_are_expanded_than_simulations():
    process, _ = start(root_children=2, children=1, batch=2, simulations=3)
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    process.send([[a, b]])
    assert len(process.send([[0.0], [0.0]]).prefixes) == 2
    process.send([[grow(a, "x")], [grow(b, "x")]])
    assert len(process.send([[0.0, 0.0]] * 2).prefixes) == 1
    process.send([[grow(grow(a, "x"), "y")]])
    assert conclude(process, [[0.0] * 3]) == SearchResult(None)


def test_a_step_of_several_lines_is_a_chain_of_nodes():
    tree = Tree(ROOT, MctsConfig(children=2))
    leaf = tree.select()
    new = tree.add(leaf, grow(grow(ROOT, "a\n"), "b\n"))
    assert [node.trajectory.text for node in new] == ["a\n", "a\nb\n"]
    assert [tree.num_missing(node) for node in new] == [1, 2]


@pytest.mark.parametrize(("choose", "best"), [("score", "az"), ("value", "z"), ("visits", "az")])
def test_the_answer_is_chosen_by_score_value_or_visits(choose, best):
    process, _ = start(choose=choose, root_children=4, children=3, simulations=1, backup="mean")
    z, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[z, a, a, a]])
    process.send([[0.6], [0.5]])
    # At depth 1 z is one deviation above the mean, at depth 2 az is exactly average.
    az = grow(a, "z", finished=True)
    process.send([[az, az, az]])
    result = conclude(process, [[0.5, 0.7]])
    assert result.best.text == best
    scores = {one.trajectory.text: one.score for one in result.candidates}
    # visits: a was sampled 3 times and visited once, z sampled once; az has no siblings.
    expected = {
        "score": {"z": 0.6, "az": 0.7},
        "value": {"z": 1.0, "az": 0.0},
        "visits": {"z": math.log(1 / 5), "az": math.log(4 / 5)},
    }
    assert scores == pytest.approx(expected[choose])


def test_a_spent_budget_leaves_the_best_finished_so_far():
    process, _ = start(root_children=2, children=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end, a]])
    process.send([[0.1], [0.9]])
    assert [(one.trajectory, one.score) for one in conclude(process).candidates] == [(end, 0.1)]


def test_what_the_budget_left_unscored_ranks_last():
    process, _ = start(root_children=2, children=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end, a]])
    process.send([[-5.0], [0.9]])
    process.send([[grow(a, "b", finished=True), grow(a, "c")]])
    result = conclude(process)
    assert result.best == end
    assert [one.score for one in result.candidates] == [-5.0, -math.inf]


def test_a_budget_of_nothing_finds_nothing():
    process, _ = start()
    assert conclude(process) == SearchResult(None)


@pytest.mark.parametrize("values", [{"batch": 0}, {"root_children": 0}, {"backup": "sum"}, {"widening_exponent": 1.5}])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValidationError):
        MctsConfig(**values)
