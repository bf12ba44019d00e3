"""Several processes that train one model: what is split between them, and what they tell each other.

`torchrun --nproc_per_node N -m trellis run FILE` starts N processes that all run the same pipeline with the same seeds, so
all of them make the same decisions in the same order. What takes long is split: sampling, scoring and searching by
item (`spread`), a network's passes by row (`trellis.nn.sharded`); what comes of it is gathered, so that every process goes
on with the whole. Only the main process writes.

A process that nobody launched this way is a world of one: then nothing here does anything, and nothing is imported.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from trellis.errors import RunError

Item = TypeVar("Item")
Value = TypeVar("Value")

_PATIENCE = timedelta(hours=6)
"""So long a process waits for the others: they may search or sample for hours. One that dies is noticed at once."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among all.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0


_world = World()
_within_share = False

during_spread: list[Callable[[], AbstractContextManager[None]]] = []
"""Entered in every process for as long as it computes its share in `spread`; `trellis.nn.splitting` gathers weights there."""


def world() -> World:
    """Return this process's place; a world of one until `start` was called under a launcher."""
    return _world


def start() -> World:
    """Join the other processes of a launcher such as torchrun, and take the local rank's GPU where there are some.

    Called by `run_pipeline`; whoever calls optimizers under torchrun without it calls this first. Not done by itself: a
    worker process inherits the launcher's variables, and is none of its processes. May be called again.
    """
    global _world
    if _world.size > 1 or int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return _world
    import torch
    from accelerate import PartialState

    device = torch.accelerator.current_accelerator(check_available=True)
    if not torch.distributed.is_initialized():
        # Not left to accelerate, which knows one backend: objects and weights on a CPU go by gloo beside NCCL.
        torch.distributed.init_process_group(timeout=_PATIENCE)
        atexit.register(_leave)
    # Told, not left to find out: without a GPU accelerate takes every process for the only one, and says nothing.
    state = PartialState(cpu=device is None or device.type == "mps")
    if state.num_processes != torch.distributed.get_world_size():
        raise RunError(f"accelerate sees {state.num_processes} processes, and there are {os.environ['WORLD_SIZE']}")
    _world = World(state.process_index, state.num_processes)
    return _world


def _leave() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def barrier() -> None:
    """Wait until every process has come here."""
    if _world.size > 1:
        import torch

        torch.distributed.barrier()


def everyone(function: Callable[[], Value]) -> list[Value]:
    """Call a function in every process and return what it gave in each, by rank.

    Raises:
        Exception: What the function raised in this process.
        RunError: It failed in another process; says where, and what it raised.
    """
    if _world.size == 1:
        return [function()]
    from accelerate.utils import gather_object

    mine: Any = None
    failed: Exception | None = None
    try:
        mine = function()
    except Exception as error:
        failed = error
    # Whoever failed must say so before it leaves: the others would wait for it.
    gathered = gather_object([(mine, failed and f"{type(failed).__name__}: {failed}")])
    if failed is not None:
        raise failed
    for rank, (_, reason) in enumerate(gathered):
        if reason is not None:
            raise RunError(f"process {rank} of {_world.size} failed: {reason}")
    return [value for value, _ in gathered]


def spread(function: Callable[[Sequence[Item]], Sequence[Value]], items: Sequence[Item]) -> list[Value]:
    """Return `function(items)`, of which every process computes a share. Within a share nothing is shared once more.

    Args:
        function: Gives a value per item, in order, which must not depend on the other items. Called with this process's
            share, which may be empty.
        items: The same in every process.

    Raises:
        Exception: As `everyone`.
    """
    global _within_share
    if _world.size == 1 or _within_share:
        return list(function(items))
    with ExitStack() as stack:
        for context in during_spread:
            stack.enter_context(context())
        _within_share = True
        try:
            shares = everyone(lambda: list(function(items[_world.rank :: _world.size])))
        finally:
            _within_share = False
    values: dict[int, Value] = {}
    for rank, share in enumerate(shares):
        values |= zip(range(rank, len(items), _world.size), share, strict=True)
    return [values[place] for place in range(len(items))]


def main_only(function: Callable[[], Value]) -> Value:
    """Call a function in the main process alone and return in every process what it gave.

    Raises:
        Exception: As `everyone`.
    """
    if _world.size == 1:
        return function()
    return everyone(lambda: [function()] if _world.main else [])[0][0]


def agree(flag: bool) -> bool:
    """Say whether `flag` is true in any process."""
    return flag if _world.size == 1 else any(everyone(lambda: flag))
