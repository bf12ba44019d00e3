"""One batch on several processes: every process passes some rows through a network, and knows the outputs of all.

    loss = L(y_1, …, y_B),    y_b = network(row b)

Outputs are small (a number per token or step), and are gathered with their gradients. So every process computes the same
loss, over the whole batch, with whatever means and group statistics it has, as one process would; each has the gradient
∂L/∂y_b ∂y_b/∂θ of its own rows alone, and the sum over processes is the gradient of the whole batch. As with
`DistributedDataParallel` it is means that are taken (and a process's own rows count W times over, for W processes): a
loss that no process has split then has the right gradient too.

Shape suffixes: B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import torch

from trellis.distributed import world
from trellis.nn.batch import TokenBatch

Output = TypeVar("Output", torch.Tensor, tuple[torch.Tensor, ...])

_BUCKET_NUMEL = 1 << 24
"""Gradients are sent so many numbers at a time: 64 MiB of float32."""


def sharded(forward: Callable[..., Output], batch: TokenBatch, *tensors: torch.Tensor) -> Output:
    """Return `forward(batch, *tensors)`, whose rows are computed by all processes together.

    Args:
        forward: Gives a tensor, or a tuple of tensors, of a row per trajectory, which does not depend on other rows.
        batch: The whole batch, the same in every process.
        tensors: What else `forward` takes, a row per trajectory each.

    Returns:
        The whole batch's outputs in every process, with the gradient of this process's rows.
    """
    here = world()
    if here.size == 1:
        return forward(batch, *tensors)
    num_rows = len(batch.trajectories)
    share = -(-num_rows // here.size)
    # The last rows may be there more than once, so that every process has equally many: what is left over is cut off again.
    rows = [min(row, num_rows - 1) for row in range(here.rank * share, (here.rank + 1) * share)]
    output = forward(batch.rows(rows), *(tensor[rows] for tensor in tensors))
    if isinstance(output, torch.Tensor):
        return _gathered(output)[:num_rows]
    parts = [_gathered(part)[:num_rows] for part in output]
    made = output._make(parts) if hasattr(output, "_make") else tuple(parts)
    return cast("Output", made)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes; one that is spread over them (FSDP) is one already."""
    if world().size == 1:
        return
    from torch.distributed.tensor import DTensor

    own = [parameter for parameter in parameters if parameter.requires_grad and not isinstance(parameter, DTensor)]
    if not own:
        return
    # An expert of a mixture may have had none of this process's rows, and some of another's.
    used = torch.tensor([parameter.grad is not None for parameter in own], dtype=torch.uint8, device=own[0].device)
    torch.distributed.all_reduce(used, op=torch.distributed.ReduceOp.MAX)
    bucket: list[torch.Tensor] = []
    for parameter, somewhere in zip(own, used.tolist(), strict=True):
        if not somewhere:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradient = parameter.grad
        if bucket and (bucket[0].dtype, bucket[0].device) != (gradient.dtype, gradient.device):
            _average(bucket)
            bucket = []
        bucket.append(gradient)
        if sum(each.numel() for each in bucket) >= _BUCKET_NUMEL:
            _average(bucket)
            bucket = []
    _average(bucket)


@torch.no_grad()
def same_everywhere(module: torch.nn.Module) -> None:
    """Give every process the main process's weights: what was drawn without a seed would differ for ever."""
    if world().size == 1:
        return
    from torch.distributed.tensor import DTensor

    for tensor in (*module.parameters(), *module.buffers()):
        if not isinstance(tensor, DTensor):
            theirs = tensor.detach().clone().contiguous()
            torch.distributed.broadcast(theirs, src=0)
            tensor.copy_(theirs)


def _average(gradients: Sequence[torch.Tensor]) -> None:
    if not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= world().size
    means = torch.split(flat, [each.numel() for each in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def _gathered(rows: torch.Tensor) -> torch.Tensor:
    return cast("torch.Tensor", _Gather.apply(rows))  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """Rows of all processes, one after another; the gradient of this process's rows, times the number of processes."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.share = len(rows)
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(world().size)]
        torch.distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        here = world()
        own = gradients[0][here.rank * ctx.share : (here.rank + 1) * ctx.share]
        return own * here.size
