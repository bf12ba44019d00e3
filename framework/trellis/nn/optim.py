"""What every training loop needs around an optimizer: a guarded step, a schedule, and state without pickle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

from trellis.distributed import world
from trellis.errors import CapabilityError, NumericsError
from trellis.nn.sharding import average_gradients
from trellis.nn.splitting import split_like, whole

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate(
    step: int, num_steps: int, *, peak: float, final: float, schedule: Schedule, warmup: int = 0
) -> float:
    """Return the learning rate of a step: linear warm-up to `peak`, then down to `final` at the last step and after it.

    Args:
        step: From 0.
        num_steps: All steps, the warm-up's included.
        peak: The highest rate.
        final: The rate at the last step; not used by "constant".
        schedule: The shape of the way down.
        warmup: How many steps rise.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    progress = min(1.0, (step - warmup) / max(1, num_steps - 1 - warmup))
    share = 1 - progress if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return final + (peak - final) * share


def guarded_step(
    optimizer: torch.optim.Optimizer,
    loss: torch.Tensor,
    *,
    lr: float,
    max_grad_norm: float,
    step: int,
    problems: Sequence[str],
) -> float:
    """Back-propagate, clip, and step; nothing is updated when the loss or a gradient is not finite.

    On several processes gradients are averaged over them first.

    Args:
        optimizer: Its gradients are set to None first.
        loss: A scalar.
        lr: The learning rate of this step.
        max_grad_norm: Gradients are scaled down to this 2-norm.
        step: The step being made, from 1; for the error.
        problems: Ids of the batch's problems; for the error.

    Returns:
        The 2-norm of the gradient before clipping.

    Raises:
        NumericsError: The loss or the gradient's norm is NaN or infinite.
        CapabilityError: The weights are in half precision.
    """
    if not torch.isfinite(loss):
        raise NumericsError("the loss", step=step, problems=problems)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if half := next((p.dtype for p in parameters if p.dtype in (torch.float16, torch.bfloat16)), None):
        mend = (
            "most of a step's change would round to nothing: load the model with `dtype: float32` to train it, or train an "
            "adapter of float32 in its place (`lora: {}`)"
        )
        raise CapabilityError("training", capability=f"use for weights in {half}", mend=f"{mend}.")
    average_gradients(parameters)
    norm = whole(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm))
    if not torch.isfinite(norm):
        optimizer.zero_grad(set_to_none=True)
        raise NumericsError("the gradient", step=step, problems=problems)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return float(norm)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Draw torch's random numbers (those of dropout) from `key` alone; the global generators are left as they were.

    Args:
        key: Integers from 0, e.g. a seed and a step: a run that is resumed at this step draws the same. Each of several
            processes draws its own, for its own rows.
    """
    key = (*key, world().rank) if world().rank else key
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
        yield


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return an optimizer's state as whole tensors named `parameter index.entry`; every process must call it."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": whole(value) for index, entries in state.items() for key, value in entries.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Take what `optimizer_tensors` returned."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = split_like(tensor, parameters[int(index)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
