"""Weights that no process holds alone: each keeps a share of every tensor, and the whole is there while it is needed (FSDP2).

By torch's `fully_shard`, layer by layer as transformers names them (`_no_split_modules`). Not through accelerate, whose FSDP
works on accelerators only: this is the same on a CPU, where it is tested. A module stays what it is; its parameters become
`DTensor`s of the whole shape. Gradients are averaged over the processes on their way to their shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakSet

import torch

from trellis.distributed import during_spread, world
from trellis.errors import CapabilityError

_split: WeakSet[torch.nn.Module] = WeakSet()


def split_weights(module: torch.nn.Module, *, device: torch.device) -> None:
    """Split a module's weights over the processes' devices, in place; one process keeps them whole, on its device.

    In a step of training a process holds a layer's weights for as long as it computes with them. In `spread`, where each
    samples or scores by itself, it holds them all.
    """
    if world().size == 1:
        module.to(device)
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world().size,))
    layers = set(getattr(module, "_no_split_modules", None) or ())
    for part in list(module.modules()):
        if type(part).__name__ in layers:
            fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for part in _parts(module):
        type(part).__deepcopy__ = _refuse  # type: ignore[attr-defined]
    _split.add(module)


def full_state(module: torch.nn.Module) -> Mapping[str, torch.Tensor] | None:
    """Return a module's whole state dict; of split weights in the main process alone, and None in others.

    Every process must call it: whatever is split is gathered.
    """
    if module not in _split:
        return module.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    state = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return cast("Mapping[str, torch.Tensor]", state) if world().main else None


def load_full_state(module: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Take a whole state dict, of which each process keeps its share. Every process must call it, with the same."""
    if module not in _split:
        module.load_state_dict(state)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(module, dict(state), options=StateDictOptions(full_state_dict=True))


def is_split(module: object) -> bool:
    """Say whether a module's weights are split."""
    return isinstance(module, torch.nn.Module) and module in _split


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that may be split as a whole; every process must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def split_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return this process's share of a whole tensor where `other`, of the same shape, is split; else the tensor."""
    if world().size == 1:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    if tensor.shape != other.shape or not isinstance(other, DTensor):
        return tensor

    there = tensor.to(other.device)
    # Every process has the whole: nothing is to be sent.
    return distribute_tensor(there, other.device_mesh, other.placements, src_data_rank=None)


@contextmanager
def _whole_weights() -> Iterator[None]:
    parts: list[Any] = [part for module in _split for part in _parts(module)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


during_spread.append(_whole_weights)


def _parts(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    from torch.distributed.fsdp import FSDPModule

    return (part for part in module.modules() if isinstance(part, FSDPModule))


def _refuse(self: torch.nn.Module, memo: object) -> None:
    mend = "learned rewards and a reference for KL are copies of the policy: leave `shard` out, or do without them."
    raise CapabilityError("a policy with `shard: true`", capability="way to be copied", mend=mend)
