"""Checks of rewards: what a score may depend on, and what learning may touch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trellis.contracts import LearnedReward, Policy, Task, TrainablePolicy
from trellis.errors import CheckpointError, NotFittedError
from trellis.testing.check import Check, CheckSkipped, Subject, expect
from trellis.testing.material import Successor, SuccessorConfig, Table, TableConfig
from trellis.testing.material.episodes import rollouts, traces_for
from trellis.types import Rollout, Trajectory

TOLERANCE = 1e-4
"""What float32 arithmetic may differ by when a batch is padded otherwise."""


@dataclass(frozen=True)
class Scene:
    """A reward on its collaborators, and what a policy wrote for it to look at."""

    reward: Any
    policy: Policy
    batches: tuple[Sequence[Rollout], ...]
    traces: tuple[Sequence[Trajectory], ...]

    @property
    def trajectories(self) -> list[Trajectory]:
        """The trajectories of the first batch; they differ in length, and some are finished."""
        return [rollout.trajectory for rollout in self.batches[0]]

    def update(self, batch: int, reward: LearnedReward | None = None) -> Mapping[str, float]:
        """Let the reward, or another in its place, learn from a batch."""
        return (reward or self.reward).update(self.traces[batch], self.batches[batch])


def every_step_has_a_finite_score(subject: Subject) -> None:
    """Searches and optimizers match scores to steps by position.

    Return one list per trajectory with one float per step, finite, from `score` and from `reward`.
    """
    scene = _fitted(subject)
    for method in (scene.reward.score, scene.reward.reward):
        answers = method(scene.trajectories)
        expect(len(answers) == len(scene.trajectories), f"{len(scene.trajectories)} trajectories, {len(answers)} lists")
        for trajectory, values in zip(scene.trajectories, answers, strict=True):
            expect(len(values) == len(trajectory.steps), f"{len(trajectory.steps)} steps, {len(values)} scores")
            wrong = [value for value in values if not isinstance(value, float) or not math.isfinite(value)]
            expect(not wrong, f"{method.__name__} gives {wrong[:3]}, no finite floats")


def scores_do_not_depend_on_the_batch(subject: Subject) -> None:
    """A search may score a step beside hundreds of others, and must find the same worth.

    Mask the padding; do not centre, scale or rank within the call.
    """
    scene = _fitted(subject)
    together = scene.reward.score(scene.trajectories)
    alone = [scene.reward.score([trajectory])[0] for trajectory in scene.trajectories]
    apart = _distance(together, alone)
    expect(apart <= TOLERANCE, f"a trajectory's scores alone and in a batch differ by {apart:.2g}")


def scores_do_not_look_ahead(subject: Subject) -> None:
    """A beam compares prefixes: what a step is worth must be known before the next one is written.

    Score a step from the prompt and the steps up to it; read the hidden state at its own last token.
    """
    scene = _fitted(subject)
    for trajectory in scene.trajectories:
        (whole,) = scene.reward.score([trajectory])
        for count in range(1, len(trajectory.steps)):
            prefix = replace(trajectory, steps=trajectory.steps[:count], finished=False, cut=False, answer=None)
            apart = _distance([whole[:count]], scene.reward.score([prefix]))
            expect(apart <= TOLERANCE, f"without the steps after step {count} its scores differ by {apart:.2g}")


def nothing_to_score_gives_nothing(subject: Subject) -> None:
    """At the end of a search the driver's batch runs empty.

    Return an empty list for an empty list.
    """
    answer = _fitted(subject).reward.score([])
    expect(list(answer) == [], f"score([]) is {answer!r}")


def scoring_leaves_its_input_alone(subject: Subject) -> None:
    """The caller goes on with the list it handed over.

    Sort and pad copies.
    """
    scene = _fitted(subject)
    for method in (scene.reward.score, scene.reward.reward):
        given = scene.trajectories
        method(given)
        expect(given == scene.trajectories, f"{method.__name__} changes the list of trajectories it was given")


def scoring_twice_gives_the_same(subject: Subject) -> None:
    """A score that changes from call to call makes a search's result a matter of luck.

    Put networks into `eval()` for scoring; draw no random numbers; learn in `update` only.
    """
    scene = _fitted(subject)
    first = scene.reward.score(scene.trajectories)
    apart = _distance(first, scene.reward.score(scene.trajectories))
    expect(apart == 0, f"the second call differs from the first by {apart:.2g}")


def unfitted_says_so(subject: Subject) -> None:
    """A search that is steered by random weights looks like one that works badly.

    Raise `NotFittedError` until something was learned, or give scores that are right before (such as 0).
    """
    scene = _scene(subject)
    try:
        answers = scene.reward.score(scene.trajectories)
    except NotFittedError:
        return
    numbers = [value for values in answers for value in values]
    expect(all(math.isfinite(value) for value in numbers), f"before anything was learned the scores are {numbers[:3]}")


def update_reports_finite_metrics(subject: Subject) -> None:
    """Metrics are written as JSON and drawn; a NaN is no number there.

    Return a mapping from names to finite floats.
    """
    scene = _scene(subject)
    for batch in (0, 1):
        metrics = scene.update(batch)
        wrong = {name: value for name, value in metrics.items() if not math.isfinite(value)}
        expect(not wrong, f"no finite numbers: {wrong}")


def update_changes_the_scores(subject: Subject) -> None:
    """A reward that does not learn from traces and rollouts is not a learned one.

    Check that the optimizer holds the parameters that `score` uses, and that they get a gradient.
    """
    scene = _fitted(subject)
    before = scene.reward.score(scene.trajectories)
    scene.update(0)
    expect(_distance(before, scene.reward.score(scene.trajectories)) > 0, "an update changes no score")


def update_leaves_the_policy_alone(subject: Subject) -> None:
    """The policy is changed by its optimizer only; a gradient left on it would be added to the next loss.

    Copy the module before training it, and take log π without gradient.
    """
    scene = _fitted(subject)
    if not isinstance(scene.policy, TrainablePolicy):
        raise CheckSkipped("it needs no trainable policy")
    before = {name: value.clone() for name, value in scene.policy.module.state_dict().items()}
    scene.update(0)
    scene.reward.score(scene.trajectories)
    changed = [name for name, value in scene.policy.module.state_dict().items() if not before[name].equal(value)]
    expect(not changed, f"the policy's weights are changed: {', '.join(changed)}")
    graded = [n for n, p in scene.policy.module.named_parameters() if p.grad is not None and bool(p.grad.any())]
    expect(not graded, f"a gradient is left on the policy's weights: {', '.join(graded)}")
    frozen = [name for name, parameter in scene.policy.module.named_parameters() if not parameter.requires_grad]
    expect(not frozen, f"the policy's weights no longer take a gradient: {', '.join(frozen)}")


def reward_survives_save_and_load(subject: Subject) -> None:
    """The search must be steered by the very reward that training ended with.

    Save all weights, buffers and running statistics that `score` uses.
    """
    scene = _fitted(subject)
    expected = scene.reward.score(scene.trajectories)
    apart = _distance(expected, _reloaded(subject, scene.reward).score(scene.trajectories))
    expect(apart == 0, f"scores after save and load differ by {apart:.2g}")


def learning_goes_on_after_load(subject: Subject) -> None:
    """A resumed run must end with the numbers of an undisturbed one.

    Save the optimizer's moments, the step count and the state of every generator as well.
    """
    scene = _fitted(subject)
    loaded = _reloaded(subject, scene.reward)
    if _distance(scene.reward.score(scene.trajectories), loaded.score(scene.trajectories)) > 0:
        raise CheckSkipped("it is not the same after loading: see reward-survives-save-and-load")
    for batch in (1, 0):
        scene.update(batch)
        scene.update(batch, loaded)
    apart = _distance(scene.reward.score(scene.trajectories), loaded.score(scene.trajectories))
    expect(apart <= TOLERANCE, f"two updates after save and load the scores differ by {apart:.2g}")


def reset_forgets_everything(subject: Subject) -> None:
    """A reward that is fitted once more, on other rollouts, must owe nothing to what it learned before.

    Make network, optimizer, statistics and generators anew from the seed.
    """
    scene = _fitted(subject)
    scene.reward.reset(seed=5)
    scene.update(1)
    fresh = _scene(subject)
    fresh.reward.reset(seed=5)
    fresh.update(1)
    apart = _distance(scene.reward.score(scene.trajectories), fresh.reward.score(fresh.trajectories))
    expect(apart <= TOLERANCE, f"reset and refitted, an old reward and a new one differ by {apart:.2g}")


def reward_refuses_a_missing_checkpoint(subject: Subject) -> None:
    """A person who resumes from the wrong directory must be told so.

    Raise `CheckpointError` where the files are missing or do not fit.
    """
    with TemporaryDirectory() as directory:
        try:
            _scene(subject).reward.load(Path(directory))
        except CheckpointError:
            return
    expect(False, "load of an empty directory raised nothing")


def _scene(subject: Subject) -> Scene:
    needs = subject.make_needs()
    task: Task = _first(needs, Task) or Successor(SuccessorConfig())
    policy: Policy = _first(needs, Policy) or Table(TableConfig())
    batches = tuple(rollouts(task, policy, seed=100 * index) for index in range(2))
    traces = tuple(traces_for(task, batch) for batch in batches)
    # Rewards that a reward is made of have learned something: sums and products of zeros would pass most checks.
    for part in _flat(needs):
        if isinstance(part, LearnedReward):
            part.update(traces[0], batches[0])
    return Scene(subject.make(needs), policy, batches, traces)


def _fitted(subject: Subject) -> Scene:
    scene = _scene(subject)
    if isinstance(scene.reward, LearnedReward):
        for batch in (0, 1):
            scene.update(batch)
    return scene


def _first(needs: Mapping[str, Any], contract: type) -> Any:
    return next((need for need in _flat(needs) if isinstance(need, contract)), None)


def _flat(needs: Mapping[str, Any]) -> list[Any]:
    """Return the collaborators, those of needs that take many among them."""
    return [part for need in needs.values() for part in (need.values() if isinstance(need, Mapping) else [need])]


def _reloaded(subject: Subject, reward: LearnedReward) -> Any:
    other = subject.make()
    with TemporaryDirectory() as directory:
        reward.save(Path(directory))
        other.load(Path(directory))
    return other


def _distance(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Return the largest difference; infinite where the shapes differ."""
    if [len(values) for values in one] != [len(values) for values in other]:
        return math.inf
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]
    return max((abs(a - b) for a, b in pairs), default=0.0)


_LEARNED: tuple[Callable[[Subject], None], ...] = (
    unfitted_says_so,
    update_reports_finite_metrics,
    update_changes_the_scores,
    update_leaves_the_policy_alone,
    reward_survives_save_and_load,
    learning_goes_on_after_load,
    reset_forgets_everything,
    reward_refuses_a_missing_checkpoint,
)

CHECKS = (
    Check.of("reward", every_step_has_a_finite_score),
    Check.of("reward", scores_do_not_depend_on_the_batch),
    Check.of("reward", scores_do_not_look_ahead),
    Check.of("reward", nothing_to_score_gives_nothing),
    Check.of("reward", scoring_leaves_its_input_alone),
    Check.of("reward", scoring_twice_gives_the_same),
    *(Check.of("reward", function, {"learned"}) for function in _LEARNED),
)
