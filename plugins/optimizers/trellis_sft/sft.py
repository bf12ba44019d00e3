"""Supervised fine-tuning: maximise the log-likelihood of the task's traces.

The loss is the mean negative log-likelihood per token of the steps (the prompt is not trained on), the standard
next-token objective. Every trace ends with the end-of-sequence token, as a sample that ends by itself does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from trellis import PolicyOptimizer, RewardModel, State, Task, TrainablePolicy, TrainStep
from trellis.errors import CapabilityError
from trellis.nn import guarded_step, learning_rate, load_optimizer_tensors, masked_mean, optimizer_tensors, seeded
from trellis_sft.config import SFTConfig


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
        """Raise CapabilityError if the task has no traces."""
        if not task.traces("train"):
            raise CapabilityError(type(task).__name__, capability="traces", mend="sft needs a task that has some.")

    def train(
        self, *, policy: TrainablePolicy, task: Task, reward: RewardModel | None = None, seed: int = 0
    ) -> Iterator[TrainStep]:
        """Train on the traces of the task's split "train"; a reward is not used."""
        c = self.config
        self.check(task=task, reward=reward)
        traces = task.traces("train")
        restored, self._restored = self._restored, None
        self._done = int(restored.values["done"]) if restored else 0  # type: ignore[arg-type]
        adamw = torch.optim.AdamW(policy.module.parameters(), betas=c.betas, weight_decay=c.weight_decay)
        if restored:
            load_optimizer_tensors(adamw, restored.tensors)
        self._adamw = adamw
        size = min(c.batch_size, len(traces))
        per_epoch = len(traces) // size
        while self._done < c.steps:
            epoch, place = divmod(self._done, per_epoch)
            order = np.random.default_rng([seed, epoch]).permutation(len(traces))
            batch = policy.batch([traces[i] for i in order[place * size : (place + 1) * size]])
            policy.module.train()
            with seeded(seed, self._done):
                loss = -masked_mean(policy.token_log_probs(batch), batch.mask_BT)
            rate = learning_rate(
                self._done,
                c.steps,
                peak=c.learning_rate,
                final=c.learning_rate * c.final_fraction,
                schedule=c.schedule,
                warmup=c.warmup,
            )
            norm = guarded_step(
                adamw,
                loss,
                lr=rate,
                max_grad_norm=c.max_grad_norm,
                step=self._done + 1,
                problems=[t.problem.id for t in batch.trajectories],
            )
            policy.module.eval()
            self._done += 1
            yield TrainStep(self._done, {"loss": loss.item(), "grad_norm": norm, "learning_rate": rate})

    def state(self) -> State:
        """Return AdamW's moments and the number of steps done."""
        if self._restored is not None:
            return self._restored
        return State(optimizer_tensors(self._adamw) if self._adamw else {}, {"done": self._done})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._restored = state
