"""One step of fine-tuning by likelihood. Shape suffixes: B trajectories, T tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from trellis import TrainablePolicy, Trajectory
from trellis.nn import guarded_step, learning_rate, masked_mean, seeded, sharded, trainable, within
from trellis_sft.config import FineTuningConfig


def new_adamw(policy: TrainablePolicy, config: FineTuningConfig) -> torch.optim.AdamW:
    """Return an optimizer of the policy's weights that has made no step."""
    return torch.optim.AdamW(trainable(policy.module), betas=config.betas, weight_decay=config.weight_decay)


def drawn_batch(trajectories: Sequence[Trajectory], *, size: int, step: int, key: Sequence[int]) -> list[Trajectory]:
    """Return the batch of a step: every epoch is a permutation of its own, cut into batches of one size.

    Args:
        trajectories: What is trained on.
        size: Of a batch; all trajectories where there are fewer. What is left of an epoch is not used.
        step: From 0.
        key: What the permutations are drawn from, with the epoch as the last number.
    """
    size = min(size, len(trajectories))
    epoch, place = divmod(step, len(trajectories) // size)
    order = np.random.default_rng([*key, epoch]).permutation(len(trajectories))
    return [trajectories[i] for i in order[place * size : (place + 1) * size]]


def likelihood_step(
    policy: TrainablePolicy,
    adamw: torch.optim.AdamW,
    trajectories: Sequence[Trajectory],
    *,
    config: FineTuningConfig,
    step: int,
    num_steps: int,
    seed: int,
    num_done: int,
) -> Mapping[str, float]:
    """Make one step on -1/N Σ log π(token | tokens before it) over the N tokens of all steps, and return its metrics.

    Args:
        policy: What is trained.
        adamw: Its optimizer.
        trajectories: The batch.
        config: Learning rate and clipping.
        step: From 0, within the schedule.
        num_steps: The schedule's length.
        seed: Dropout is drawn from it and `num_done`.
        num_done: Steps of the whole training made before this one.

    Raises:
        NumericsError: The loss or a gradient is not finite.
    """
    batch = policy.batch(trajectories)
    rate = learning_rate(
        step,
        num_steps,
        peak=config.learning_rate,
        final=config.learning_rate * config.final_fraction,
        schedule=config.schedule,
        warmup=config.warmup,
    )

    def make() -> tuple[torch.Tensor, float]:
        with seeded(seed, num_done):
            loss = -masked_mean(sharded(policy.token_log_probs, batch), batch.mask_BT)
        norm = guarded_step(
            adamw,
            loss,
            lr=rate,
            max_grad_norm=config.max_grad_norm,
            step=num_done + 1,
            problems=[t.problem.id for t in batch.trajectories],
        )
        return loss, norm

    policy.module.train()
    loss, norm = within(policy.budget, make)
    policy.module.eval()
    return {"loss": loss.item(), "grad_norm": norm, "learning_rate": rate}
