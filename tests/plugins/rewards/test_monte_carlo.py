"""Monte-Carlo labels: what they are, what they cost, and what is learned from them."""

import json
from dataclasses import replace

import pytest
import torch

from trellis import Completion, Rollout, Step
from trellis.errors import NotFittedError
from trellis.nn import StepNet
from trellis.testing.material import Successor, SuccessorConfig
from trellis.testing.material.characters import END, encode
from trellis.testing.material.episodes import rollouts
from trellis.testing.material.tiny import Tiny, TinyConfig
from trellis_prm.config import MonteCarloConfig
from trellis_prm.monte_carlo import MonteCarlo

CONTINUATIONS = {
    "2\n": ["5\n8", "5\n9", "5\n8", "1"],
    "2\n5\n": ["8", "8", "8", "8"],
    "2\n6\n": ["8", "9", "8", ""],
    "3\n": ["5\n8", "5\n8", "5\n8", "5\n8"],
    "3\n5\n": ["8", "8", "8", "8"],
}
"""What the scripted policy writes after each prefix, to the end: the solution of 147 is 2, 5, 8."""


class Scripted(Tiny):
    """Writes what the script says, in turn, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__(TinyConfig())
        self.requests = []

    def sample(self, requests):
        self.requests += requests
        return [[_completion(text) for text in CONTINUATIONS[r.prefix.text][: r.n]] for r in requests]


def _completion(text: str) -> Completion:
    ids = (*encode(text), END)
    return Completion(ids, (*text, ""), (-1.0,) * len(ids), "end")


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def policy():
    return Scripted()


def rollout(task, *lines: str) -> Rollout:
    root = task.start(task.parse("147"))
    trajectory = replace(root, steps=tuple(Step(line) for line in lines), finished=True)
    return Rollout(trajectory, task.verify(trajectory))


@pytest.fixture
def rolled(task):
    """A correct rollout, one that goes wrong at its second step, and one at its first."""
    return [rollout(task, "2\n", "5\n", "8"), rollout(task, "2\n", "6\n", "8"), rollout(task, "3\n", "5\n", "8")]


def monte_carlo(policy, task, **options) -> MonteCarlo:
    return MonteCarlo(
        MonteCarloConfig(**{"completions": 4, "learning_rate": 1e-2, **options}), policy=policy, task=task
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("soft", [{0: 0.5, 1: 1.0, 2: 1.0}, {0: 0.5, 1: 0.0, 2: 0.0}, {0: 0.0, 1: 0.0, 2: 0.0}]),
        ("hard", [{0: 1.0, 1: 1.0, 2: 1.0}, {0: 1.0, 1: 0.0, 2: 0.0}, {0: 0.0, 1: 0.0, 2: 0.0}]),
    ],
)
def test_a_label_is_the_share_of_correct_completions_or_whether_there_is_any(labels, expected, policy, task, rolled):
    reward = monte_carlo(policy, task, labels=labels)
    metrics = reward.update([], rolled)
    assert [reward.labels(r) for r in rolled] == expected
    assert metrics["label_mean"] == pytest.approx(sum(sum(e.values()) for e in expected) / 9)


def test_the_loss_is_the_cross_entropy_of_the_labelled_steps(policy, task, rolled):
    reward = monte_carlo(policy, task, prefixes_per_rollout=1)
    net = StepNet(policy.module)
    torch.nn.init.normal_(net.head.weight)
    loss, _ = reward.objective([], rolled)(net)
    logits = net(policy.batch([r.trajectory for r in rolled]))
    terms = []
    for row, r in enumerate(rolled):
        labels = reward.labels(r)
        assert len(labels) == 2
        for step, label in labels.items():
            p = logits[row, step].sigmoid()
            terms.append(-(label * p.log() + (1 - label) * (1 - p).log()))
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_a_prefix_is_labelled_once_however_often_it_comes(policy, task, rolled):
    reward = monte_carlo(policy, task)
    reward.update([], rolled)
    assert sorted(r.prefix.text for r in policy.requests) == sorted(CONTINUATIONS)
    assert reward.update([], rolled)["completions_sampled"] == 4 * len(CONTINUATIONS)
    assert len(policy.requests) == len(CONTINUATIONS)


def test_prefixes_are_open_and_sampled_as_configured_each_with_a_seed_of_its_own(policy, task, rolled):
    reward = monte_carlo(policy, task, max_tokens=17, temperature=0.7)
    reward.update([], rolled)
    assert all(r.prefix.open and r.prefix.answer is None for r in policy.requests)
    assert {(r.n, r.max_tokens, r.temperature) for r in policy.requests} == {(4, 17, 0.7)}
    seeds = {r.prefix.text: r.seed for r in policy.requests}
    assert len(set(seeds.values())) == len(seeds)
    again = Scripted()
    monte_carlo(again, task).update([], rolled[::-1])
    assert {r.prefix.text: r.seed for r in again.requests} == seeds, "the order of rollouts changes no label"
    other = Scripted()
    fresh = monte_carlo(other, task)
    fresh.reset(seed=5)
    fresh.update([], rolled)
    assert not set(seeds.values()) & {r.seed for r in other.requests}


def test_the_budget_is_never_exceeded_and_rollouts_beyond_it_are_left_out(policy, task, rolled):
    reward = monte_carlo(policy, task, budget_rollouts=15)
    metrics = reward.update([], rolled)
    assert metrics["completions_sampled"] == 12.0, "the third rollout would need 8 more"
    assert metrics["left_out"] == 1.0
    assert reward.update([], rolled[2:]) == {"skipped": 1.0}
    assert reward.update([], rolled[:1])["left_out"] == 0.0, "what is labelled stays in"
    one_step = rollout(task, "9")
    assert reward.update([], [one_step, rolled[2]])["left_out"] == 1.0, "an outcome of one's own costs nothing"


def test_a_budget_too_small_for_anything_is_named(policy, task, rolled):
    reward = monte_carlo(policy, task, budget_rollouts=3)
    assert reward.update([], rolled) == {"skipped": 1.0}
    with pytest.raises(NotFittedError, match="no rollout could be labelled within `budget_rollouts: 3`"):
        reward.score([rolled[0].trajectory])


def test_labels_and_what_they_cost_survive_save_and_load_and_end_with_reset(policy, task, rolled, tmp_path):
    reward = monte_carlo(policy, task)
    reward.update([], rolled[:2])
    reward.save(tmp_path)
    other = monte_carlo(Scripted(), task)
    other.load(tmp_path)
    assert (other.shares, other.num_sampled) == (reward.shares, 12)
    assert reward.update([], rolled) == other.update([], rolled)
    assert [r.prefix.text for r in other.policy.requests] == ["3\n", "3\n5\n"]
    assert reward.score([rolled[0].trajectory]) == other.score([rolled[0].trajectory])
    assert json.loads(json.dumps(reward.memory())) == reward.memory()
    reward.reset(seed=0)
    assert (reward.shares, reward.num_sampled) == ({}, 0)


def test_it_learns_to_tell_correct_rollouts_from_others(skilled, fitted_auc, task):
    reward = monte_carlo(skilled, task, max_tokens=12)
    assert fitted_auc(reward, updates=150) > 0.7


def test_its_labels_are_close_to_the_probability_of_solving(skilled, task):
    """The right token comes with probability 0.8: after a right first line of two, two tokens are left."""
    reward = monte_carlo(skilled, task, completions=64, max_tokens=12)
    reward.update([], [r for r in rollouts(task, skilled, count=3, n=8) if len(r.trajectory.steps) > 1])
    right = [share for (id_, text), share in reward.shares.items() if text == f"{(int(id_[0]) + 1) % 10}\n"]
    assert right
    assert all(share == pytest.approx(0.64, abs=0.2) for share in right)
    wrong = [
        share for (id_, text), share in reward.shares.items() if not text.startswith(str((int(id_[0]) + 1) % 10) + "\n")
    ]
    assert all(share == 0 for share in wrong)
