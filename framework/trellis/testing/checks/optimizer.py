"""Checks of policy optimizers: steps, determinism, and going on where a run stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trellis.contracts import LearnedReward, PolicyOptimizer, State, Task, TrainablePolicy
from trellis.testing.check import Check, CheckSkipped, Subject, expect
from trellis.testing.material import Counts, CountsConfig, Successor, SuccessorConfig, practised
from trellis.types import TrainStep

if TYPE_CHECKING:
    import torch

STEPS = 3
"""How far a check trains; the whole way may take hours."""


@dataclass(frozen=True)
class Workshop:
    """An optimizer and what it works on, all of it fresh."""

    optimizer: PolicyOptimizer
    policy: TrainablePolicy
    task: Task
    reward: LearnedReward | None

    def train(self, *, seed: int = 0) -> Iterator[TrainStep]:
        """Begin to train, or go on."""
        return self.optimizer.train(policy=self.policy, task=self.task, reward=self.reward, seed=seed)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the policy's weights."""
        return {name: value.detach().clone() for name, value in self.policy.module.state_dict().items()}


def steps_are_counted(subject: Subject) -> None:
    """Progress, checkpoints and the metrics' x-axis are the number of steps completed.

    Yield `TrainStep(1)` to `TrainStep(num_steps)`, one after each step, and nothing more.
    """
    shop = _workshop(subject)
    num_steps = shop.optimizer.num_steps
    expect(isinstance(num_steps, int) and num_steps >= 1, f"num_steps is {num_steps!r}")
    taken = [step.step for step in islice(shop.train(), min(num_steps, 2 * STEPS) + 1)]
    expected = list(range(1, min(num_steps, 2 * STEPS + 1) + 1))
    expect(taken == expected, f"num_steps is {num_steps}, and the steps are {taken}")


def metrics_are_finite(subject: Subject) -> None:
    """Metrics are written as JSON and drawn; a NaN is no number there.

    Average over what there is, and give 0 where there is nothing; raise `NumericsError` for a loss that is not finite.
    """
    for step in islice(_workshop(subject).train(), STEPS):
        wrong = {name: value for name, value in step.metrics.items() if not math.isfinite(value)}
        expect(not wrong, f"step {step.step}: no finite numbers: {wrong}")


def training_changes_the_policy(subject: Subject) -> None:
    """An algorithm that changes no weight teaches nothing.

    The kit's policy solves some of its task's problems, and part of a solution is worth part of the score.
    """
    shop = _workshop(subject)
    before = shop.weights()
    _advance(shop.train(), STEPS)
    expect(_changed(before, shop.weights()), f"no weight of the policy changes in {STEPS} steps")


def training_follows_the_seed(subject: Subject) -> None:
    """A result that cannot be had twice cannot be trusted once.

    Derive every draw from `seed` and the step; use no global generator, no clock, no order of a set.
    """
    first, again = _workshop(subject), _workshop(subject)
    for shop in (first, again):
        _advance(shop.train(), STEPS)
    changed = _changed(first.weights(), again.weights())
    expect(not changed, f"two trainings with one seed differ in {', '.join(changed)}")


def training_goes_on_where_it_stopped(subject: Subject) -> None:
    """A run that is killed and resumed must end with the numbers of an undisturbed one.

    Keep the step count, the optimizer's moments, the schedule and every generator's state in `state()`; the policy and
    the reward are saved beside it. Between two yields nothing else may be remembered.
    """
    whole, again = _workshop(subject), _workshop(subject)
    if whole.optimizer.num_steps < 2:
        raise CheckSkipped("one step cannot be interrupted: give a config with two or more")
    for shop in (whole, again):
        _advance(shop.train(), STEPS)
    if _changed(whole.weights(), again.weights()):
        raise CheckSkipped("no two trainings are the same: see training-follows-the-seed")
    stopped, resumed = _workshop(subject), _workshop(subject)
    _advance(stopped.train(), 1)
    _carry_over(stopped, resumed)
    _advance(resumed.train(), STEPS - 1)
    changed = _changed(whole.weights(), resumed.weights())
    expect(not changed, f"stopped and resumed, training ends with other weights in {', '.join(changed)}")


def state_is_tensors_and_json(subject: Subject) -> None:
    """Checkpoints are safetensors and JSON: nothing in them can run code.

    Put tensors into `State.tensors` and JSON values into `State.values`; a generator's state is a tensor.
    """
    import torch

    shop = _workshop(subject)
    _advance(shop.train(), 1)
    state = shop.optimizer.state()
    wrong = [name for name, value in state.tensors.items() if not isinstance(value, torch.Tensor)]
    expect(not wrong, f"no tensors: {', '.join(wrong)}")
    try:
        json.dumps(state.values, allow_nan=False)
    except (TypeError, ValueError) as error:
        expect(False, f"State.values is no JSON: {error}")


def _workshop(subject: Subject) -> Workshop:
    needs = subject.make_needs()
    reward = Counts(CountsConfig()) if subject.offers("process-reward") else None
    # Some algorithms learn from correct rollouts alone: a policy without any would be of no use to them.
    return Workshop(subject.make(needs), practised(), Successor(SuccessorConfig()), reward)


def _advance(steps: Iterator[TrainStep], count: int) -> None:
    """Take some steps and drop the iterator, as the engine does when a run stops."""
    for _ in islice(steps, count):
        pass


def _carry_over(stopped: Workshop, resumed: Workshop) -> None:
    """Save one workshop and restore the other, through files."""
    import torch
    from safetensors.torch import load_file, save_file

    state = stopped.optimizer.state()
    pairs: list[tuple[Any, Any]] = [(stopped.policy, resumed.policy)]
    if stopped.reward is not None:
        pairs.append((stopped.reward, resumed.reward))
    for one, other in pairs:
        with TemporaryDirectory() as directory:
            one.save(Path(directory))
            other.load(Path(directory))
    values = state.values
    # What is no JSON or no tensor is the finding of another check.
    with suppress(TypeError, ValueError):
        values = json.loads(json.dumps(state.values))
    tensors = {name: value for name, value in state.tensors.items() if isinstance(value, torch.Tensor)}
    with TemporaryDirectory() as directory:
        path = Path(directory) / "state.safetensors"
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)
        loaded = load_file(path)
    resumed.optimizer.restore(State({**state.tensors, **loaded}, values))


def _changed(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in one.items() if not value.equal(other[name])]


CHECKS = (
    Check.of("optimizer", steps_are_counted),
    Check.of("optimizer", metrics_are_finite),
    Check.of("optimizer", training_changes_the_policy),
    Check.of("optimizer", training_follows_the_seed),
    Check.of("optimizer", training_goes_on_where_it_stopped),
    Check.of("optimizer", state_is_tensors_and_json),
)
