"""Supervised fine-tuning: maximise the log-likelihood of the task's traces.

The loss is the mean negative log-likelihood per token of the steps (the prompt is not trained on), the standard
next-token objective. Every trace ends with the end-of-sequence token, as a sample that ends by itself does.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from trellis import PolicyOptimizer, RewardModel, State, Task, TrainablePolicy, TrainStep
from trellis.errors import CapabilityError
from trellis.nn import load_optimizer_tensors, optimizer_tensors
from trellis_sft.config import SFTConfig
from trellis_sft.likelihood import drawn_batch, likelihood_step, new_adamw


class SFT(PolicyOptimizer):
    """Supervised fine-tuning with AdamW."""

    Config = SFTConfig

    def __init__(self, config: SFTConfig) -> None:
        self.config = config
        self._done = 0
        self._adamw: torch.optim.AdamW | None = None
        self._restored: State | None = None

    @property
    def num_steps(self) -> int:
        """How many steps `train` yields in all."""
        return self.config.steps

    def check(self, *, task: Task, reward: RewardModel | None) -> None:
        """Raise CapabilityError if the task has no traces, and none can come about before training begins."""
        if not task.traces_grow and not task.traces("train"):
            raise CapabilityError(type(task).__name__, capability="traces", mend="sft needs a task that has some.")

    def train(
        self, *, policy: TrainablePolicy, task: Task, reward: RewardModel | None = None, seed: int = 0
    ) -> Iterator[TrainStep]:
        """Train on the traces of the task's split "train"; a reward is not used."""
        c = self.config
        self.check(task=task, reward=reward)
        traces = task.traces("train")
        if not traces:
            mend = "sft needs some: let an earlier stage find them."
            raise CapabilityError(type(task).__name__, capability="traces yet", mend=mend)
        restored, self._restored = self._restored, None
        self._done = int(restored.values["done"]) if restored else 0  # type: ignore[arg-type]
        self._adamw = new_adamw(policy, c)
        if restored:
            load_optimizer_tensors(self._adamw, restored.tensors)
        while self._done < c.steps:
            metrics = likelihood_step(
                policy,
                self._adamw,
                drawn_batch(traces, size=c.batch_size, step=self._done, key=[seed]),
                config=c,
                step=self._done,
                num_steps=c.steps,
                seed=seed,
                num_done=self._done,
            )
            self._done += 1
            yield TrainStep(self._done, metrics)

    def state(self) -> State:
        """Return AdamW's moments and the number of steps done."""
        if self._restored is not None:
            return self._restored
        return State(optimizer_tensors(self._adamw) if self._adamw else {}, {"done": self._done})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._restored = state
