"""PolicyOptimizer: the algorithm that changes a policy's weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trellis.contracts.policy import TrainablePolicy
from trellis.contracts.reward import RewardModel
from trellis.contracts.task import Task
from trellis.types import JSON, TrainStep

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class State:
    """What must be kept to go on: tensors by name, and JSON values. Written as safetensors and JSON."""

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    values: Mapping[str, JSON] = field(default_factory=dict)


class PolicyOptimizer(ABC):
    """One training algorithm.

    The engine owns progress, checkpoints and stopping: `train` is an iterator that has completed a step each time it
    yields, and is simply not advanced any further when the run stops. Between two yields `state()`, together with
    the policy's and the reward's own `save`, is everything needed to go on with the same numbers.

    Under torchrun every process calls `train` alike, and all make the same decisions. `trellis.distributed.spread` shares
    sampling and scoring between them, `trellis.nn.sharded` a batch's rows; an optimizer that uses neither gives the same
    result, with every process doing all of the work. What a process alone knows (a clock, a failure) must decide nothing.

    Capabilities: "process-reward" (`train` makes use of `reward`), "traces" (it needs the task's traces).
    """

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """How many steps `train` yields in all."""

    def check(self, *, task: Task, reward: RewardModel | None) -> None:
        """Raise CapabilityError if `train` cannot work with these. Called before anything runs."""
        return None

    @abstractmethod
    def train(
        self, *, policy: TrainablePolicy, task: Task, reward: RewardModel | None = None, seed: int = 0
    ) -> Iterator[TrainStep]:
        """Train, yielding after each step: from the first, or from the step after the one just restored.

        A learned reward is updated by the optimizer, in the order its algorithm states.

        Raises:
            NumericsError: A loss or gradient is not finite.
        """

    @abstractmethod
    def state(self) -> State:
        """Return what must be kept between two steps."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take what `state` returned; the next `train` goes on from there."""
