"""How much goes through a model at once, and what happens where that is too much. Shape suffixes: B rows, T tokens."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from trellis.distributed import world
from trellis.errors import MemoryExhaustedError
from trellis.nn.batch import TokenBatch

T = TypeVar("T")
_log = logging.getLogger("trellis.memory")


class TokenBudget:
    """So many tokens (rows x longest row) go through a model at once; less once memory ran out.

    Attributes:
        tokens: How many, at present.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._divisible = False

    def __deepcopy__(self, memo: object) -> TokenBudget:
        """A copy of a network runs on the same device."""
        return self

    def parts(self, lengths: Sequence[int]) -> list[list[int]]:
        """Cut rows into parts of like length, each of at most `tokens`; a row that is longer is a part of its own.

        Args:
            lengths: The length of each row, in tokens.

        Returns:
            The rows' indices, shortest rows first.
        """
        parts: list[list[int]] = []
        for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
            if parts and (len(parts[-1]) + 1) * lengths[row] <= self.tokens:
                parts[-1].append(row)
            else:
                parts.append([row])
        self._divisible |= any(len(part) > 1 for part in parts)
        return parts

    def within(self, run: Callable[[], T]) -> T:
        """Return `run()`; where memory runs out in it, halve the budget and run it once more, as often as it takes.

        Args:
            run: Something that cuts its work by `parts`, and may be begun anew after it failed half-way.

        Raises:
            MemoryExhaustedError: Memory ran out with a single row at a time, or in one of several processes.
        """
        before = self.tokens
        while True:
            self._divisible = False
            try:
                answer = run()
            except torch.OutOfMemoryError as error:
                if not self._divisible:
                    raise MemoryExhaustedError(str(error)) from error
                if world().size > 1:
                    # The others are in the middle of the same step, and wait for what this process has to say to it.
                    raise MemoryExhaustedError(str(error), tokens=self.tokens) from error
                self.tokens = max(1, self.tokens // 2)
            else:
                break
            # Only here, past the handler, does nothing hold on to the tensors of what failed.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if self.tokens < before:
            _log.warning(
                "out of memory with %d tokens at once: from here on at most %d are. Set `batch_tokens: %d` to begin so",
                before,
                self.tokens,
                self.tokens,
            )
        return answer


def within(budget: TokenBudget | None, run: Callable[[], T]) -> T:
    """Return `run()`, within a budget where there is one."""
    return run() if budget is None else budget.within(run)


def in_parts(
    run: Callable[[TokenBatch], torch.Tensor], batch: TokenBatch, budget: TokenBudget | None = None
) -> torch.Tensor:
    """Return `run(batch)`, row by row the same, with no more than the budget going through it at once.

    Under autograd, all parts but the last are run without keeping what their gradient needs, and run again when it is
    asked for: memory holds one part's activations at a time, and any loss of all rows is exactly what it is for the whole
    batch. It costs another forward pass of those parts. Dropout draws the same both times.

    Args:
        run: Gives shape (B, T, …), and treats each row apart.
        batch: Of any size.
        budget: None is no bound.

    Returns:
        Shape (B, T, …); of no meaning at padding.
    """
    if budget is None:
        return run(batch)
    lengths = batch.attention_BT.sum(1).tolist()
    parts = budget.parts(lengths)
    if len(parts) == 1:
        return run(batch)
    width = batch.ids_BT.shape[1]
    values = []
    for number, rows in enumerate(parts, start=1):
        part = batch.rows(rows, width=lengths[rows[-1]])
        again = torch.is_grad_enabled() and number < len(parts)
        value: torch.Tensor = checkpoint(run, part, use_reentrant=False) if again else run(part)
        padding = [0, 0] * (value.ndim - 2) + [0, width - value.shape[1]]
        values.append(torch.nn.functional.pad(value, padding))
    order = torch.tensor([row for rows in parts for row in rows], device=values[0].device)
    return torch.cat(values)[order.argsort()]
