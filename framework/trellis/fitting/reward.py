"""A learned reward that is one network: everything but the network and its loss."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trellis.contracts import LearnedReward, TrainablePolicy
from trellis.errors import CheckpointError, NotFittedError
from trellis.fitting.config import LearningConfig
from trellis.nn import (
    TokenBatch,
    fork,
    guarded_step,
    learning_rate,
    load_optimizer_tensors,
    load_own_tensors,
    optimizer_tensors,
    own_tensors,
    same_everywhere,
    seeded,
    trainable,
    within,
)
from trellis.types import Rollout, Step, Trajectory

Net = TypeVar("Net", bound=torch.nn.Module)
Objective: TypeAlias = Callable[[Net], tuple[torch.Tensor, Mapping[str, torch.Tensor]]]
"""Given the network, the loss of a batch and what else is to be reported of it."""

_SCORED_AT_ONCE = 512


class NetworkReward(LearnedReward, Generic[Net]):
    """A network made from the trunk's present weights, trained by AdamW, read in the average of its weights.

    A subclass says what the network is (`make_net`), what it learns from a batch (`objective`), and how steps are scored
    (`score`, with `outputs`, or `net` and `batches`). What it keeps besides, it hands over in `memory`.

    The trunk is the policy itself, or another model that reads the same text in tokens of its own.
    """

    def __init__(
        self, config: LearningConfig, *, policy: TrainablePolicy, trunk: TrainablePolicy | None = None
    ) -> None:
        self.learning = config
        self.policy = policy
        self.trunk = policy if trunk is None else trunk
        self.num_done = 0
        self.seed = policy.seed
        self._num_skipped = 0
        self._num_updates: int | None = None
        self._trained: tuple[Net, torch.optim.AdamW] | None = None
        self._average: Net | None = None

    @abstractmethod
    def make_net(self) -> Net:
        """Return a new network; what it takes of the trunk is forked (`trellis.nn.fork`) and keeps to its `budget`."""

    @abstractmethod
    def objective(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Objective[Net] | None:
        """Return what to minimise on a batch, all of whose rollouts have steps; None where there is nothing to learn."""

    @property
    def why_skipped(self) -> str:
        """Say why `objective` returned None every time, and how to mend it: one sentence without a full stop."""
        return (
            "no rollout had a step: the prompts leave no room in the policy's context. Take shorter problems, or a policy "
            "with a longer context"
        )

    def memory(self) -> Mapping[str, Any]:
        """Return what else must be kept between updates, as JSON values."""
        return {}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take what `memory` returned; an empty mapping forgets everything."""

    def update(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Mapping[str, float]:
        """Make `updates_per_round` gradient steps; a batch without anything to learn from reports `skipped` as 1."""
        c = self.learning
        own = [rollout for rollout in rollouts if rollout.trajectory.steps]
        objective = self.objective(traces, own) if own else None
        if objective is None:
            self._num_skipped += 1
            return {"skipped": 1.0}
        net, adamw = self._begin()
        problems = list(dict.fromkeys(rollout.trajectory.problem.id for rollout in own))

        def step() -> tuple[torch.Tensor, Mapping[str, torch.Tensor], float]:
            with seeded(self.seed, self.num_done):
                loss, metrics = objective(net)
            norm = guarded_step(
                adamw,
                loss,
                lr=self._learning_rate(),
                max_grad_norm=c.max_grad_norm,
                step=self.num_done + 1,
                problems=problems,
            )
            return loss, metrics, norm

        net.train()
        for _ in range(c.updates_per_round):
            loss, metrics, norm = within(self.trunk.budget, step)
            self.num_done += 1
            self._follow(net)
        net.eval()
        return {
            "loss": loss.item(),
            "grad_norm": norm,
            **{name: value.item() for name, value in metrics.items()},
            "skipped": 0.0,
        }

    @torch.no_grad()
    def loss(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> float | None:
        """Return the loss of a batch under the network that scores; nothing is learned or remembered from it."""
        own = [rollout for rollout in rollouts if rollout.trajectory.steps]
        memory = copy.deepcopy(self.memory())
        objective = self.objective(traces, own) if own else None
        self.remember(memory)
        if objective is None:
            return None
        return within(self.trunk.budget, lambda: float(objective(self.net)[0]))

    @property
    def net(self) -> Net:
        """The network to score with.

        Raises:
            NotFittedError: Nothing was learned yet.
        """
        if self._trained is not None:
            return self._trained[0] if self._average is None else self._average
        name = type(self).__name__
        if self._num_skipped:
            raise NotFittedError(
                f"the reward {name} has not learned anything: in {self._num_skipped} updates {self.why_skipped}"
            )
        raise NotFittedError(
            f"the reward {name} has not learned anything yet: run a `train` stage whose optimizer updates it, or a "
            "`fit-reward` stage, before it is used"
        )

    def batch(self, trajectories: Sequence[Trajectory]) -> TokenBatch:
        """Return a batch for the network; its `trajectories` are those given, in the policy's tokens."""
        if self.trunk is self.policy:
            return self.policy.batch(trajectories)
        plain = [replace(t, steps=tuple(Step(step.text) for step in t.steps)) for t in trajectories]
        return replace(self.trunk.batch(plain), trajectories=tuple(trajectories))

    def batches(self, trajectories: Sequence[Trajectory]) -> Iterator[TokenBatch]:
        """Yield the trajectories as batches of bounded size, in order."""
        for first in range(0, len(trajectories), _SCORED_AT_ONCE):
            yield self.batch(trajectories[first : first + _SCORED_AT_ONCE])

    @torch.no_grad()
    def outputs(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return what a network of one number a step gives each step, by trajectory."""
        net = self.net
        return within(
            self.trunk.budget,
            lambda: [row for batch in self.batches(trajectories) for row in batch.per_step(net(batch))],
        )

    def reset(self, *, seed: int, num_updates: int | None = None) -> None:
        """Forget everything; the next update makes the network anew from the trunk's present weights."""
        self._trained = self._average = None
        self.num_done = self._num_skipped = 0
        self._num_updates, self.seed = num_updates, seed
        self.remember({})

    def save(self, directory: Path) -> None:
        """Write the network, its average, AdamW's moments and what else is kept."""
        tensors: dict[str, torch.Tensor] = {}
        if self._trained is not None:
            net, adamw = self._trained
            tensors |= {f"net.{k}": v.clone() for k, v in own_tensors(net, beside=self.trunk.module).items()}
            tensors |= {f"adamw.{k}": v for k, v in optimizer_tensors(adamw).items()}
            if self._average is not None:
                tensors |= {f"average.{k}": v.clone() for k, v in own_tensors(self._average, beside=net).items()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, directory / "reward.safetensors")
        values = {
            "done": self.num_done,
            "skipped": self._num_skipped,
            "num_updates": self._num_updates,
            "seed": self.seed,
        }
        text = json.dumps({**values, "memory": self.memory()})
        (directory / "reward.json").write_text(text, encoding="utf-8")

    def load(self, directory: Path) -> None:
        """Take what `save` wrote."""
        path = directory / "reward.safetensors"
        try:
            tensors = load_file(path)
            values = json.loads((directory / "reward.json").read_text(encoding="utf-8"))
            done, skipped = values["done"], values["skipped"]
            num_updates, seed = values["num_updates"], values["seed"]
            self._trained = self._average = None
            if tensors:
                net, adamw = self._begin()
                load_own_tensors(net, _below(tensors, "net."), beside=self.trunk.module)
                load_optimizer_tensors(adamw, _below(tensors, "adamw."))
                if self._average is not None:
                    load_own_tensors(self._average, _below(tensors, "average."), beside=net)
            self.remember(values["memory"])
        except KeyError as error:
            raise CheckpointError(f"{directory} does not fit this reward: it has no {error}", path=directory) from error
        except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{directory} does not fit this reward: {error}", path=directory) from error
        self.num_done, self._num_skipped = done, skipped
        self._num_updates, self.seed = num_updates, seed

    def _begin(self) -> tuple[Net, torch.optim.AdamW]:
        if self._trained is None:
            c = self.learning
            net = self.make_net().to(next(self.trunk.module.parameters()).device).eval()
            same_everywhere(net)
            self._trained = net, torch.optim.AdamW(trainable(net), lr=c.learning_rate, weight_decay=c.weight_decay)
            self._average = fork(net).requires_grad_(False) if c.average > 0 else None
        return self._trained

    @torch.no_grad()
    def _follow(self, net: Net) -> None:
        """Move the average towards the newest weights; it begins short and grows to the configured length."""
        if self._average is None:
            return
        decay = min(self.learning.average, (1 + self.num_done) / (10 + self.num_done))
        for mean, value in zip(self._average.parameters(), net.parameters(), strict=True):
            if mean is not value:
                mean.lerp_(value, 1 - decay)
        for kept, buffer in zip(self._average.buffers(), net.buffers(), strict=True):
            kept.copy_(buffer)

    def _learning_rate(self) -> float:
        c = self.learning
        return learning_rate(
            self.num_done,
            (self._num_updates or 1) * c.updates_per_round,
            peak=c.learning_rate,
            final=c.learning_rate * c.final_fraction,
            schedule="linear" if self._num_updates else "constant",
        )


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
