"""Copies of a model that share what is frozen: a reference or a reward's trunk beside a policy costs what is trained of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch

Net = TypeVar("Net", bound=torch.nn.Module)


def trainable(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that take a gradient, in the module's order: all of them, or those of its adapter."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def fork(module: Net) -> Net:
    """Return a copy of a module that begins as it is and goes its own way.

    Parameters that take no gradient are the module's own tensors, held once; those that do (an adapter's, or all of them)
    are copied. A module of which nothing takes a gradient is copied whole, and all of the copy takes gradients.
    """
    if not trainable(module):
        return copy.deepcopy(module).requires_grad_(True)
    forked = copy.deepcopy(module, {id(p): p for p in module.parameters() if not p.requires_grad})
    forked.zero_grad(set_to_none=True)
    return forked


def own_tensors(module: torch.nn.Module, *, beside: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the entries of a module's state that it does not share with another: of a fork, what must be saved of it."""
    shared = {id(parameter) for parameter in beside.parameters()}
    state = module.state_dict(keep_vars=True)
    return {name: tensor.detach() for name, tensor in state.items() if id(tensor) not in shared}


def load_own_tensors(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, beside: torch.nn.Module) -> None:
    """Take what `own_tensors` returned.

    Raises:
        RuntimeError: They are of another module.
    """
    own = own_tensors(module, beside=beside)
    if wrong := sorted(own.keys() ^ tensors.keys()):
        raise RuntimeError(f"'{wrong[0]}' is {'missing' if wrong[0] in own else 'not a weight of it'}")
    module.load_state_dict(dict(tensors), strict=False)
