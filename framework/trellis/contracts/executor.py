"""Executor: runs a function over items, here, in other processes, or on other machines."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ItemResult(Generic[Value]):
    """How one item ended.

    Attributes:
        index: The item's place in the input, from 0.
        value: What the function returned; None if it failed.
        error: The exception of the last attempt, or None. A time-out is a `TimeoutError`.
        attempts: How often it was tried.
    """

    index: int
    value: Value | None
    error: BaseException | None
    attempts: int


def item_seed(seed: int, index: int) -> int:
    """Return the seed of an item, in [0, 2**63): what every executor gives the function beside the item.

    Args:
        seed: The base, as given to `Executor.map_unordered`.
        index: The item's place in the input, from 0.
    """
    return int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest(), "big") >> 1


class Executor(ABC):
    """Maps a function over items, in any order, each with a seed of its own.

    Capabilities: "processes" (items run in other processes: function and items must pickle), "timeout" (`timeout_s`
    is enforced; an executor without it refuses one).
    """

    @abstractmethod
    def map_unordered(
        self,
        fn: Callable[[Item, int], Value],
        items: Iterable[Item],
        *,
        seed: int = 0,
        timeout_s: float | None = None,
        retries: int = 0,
    ) -> Iterator[ItemResult[Value]]:
        """Yield a result per item as each ends. One item's failure is its own: the others go on.

        Args:
            fn: Called as `fn(item, seed)`; the item's seed depends on `seed` and the item's index alone, so every
                executor gives the same results.
            items: What to map over.
            seed: The base of the items' seeds.
            timeout_s: Seconds an attempt may take; then it is stopped and counts as failed with a `TimeoutError`.
            retries: How often a failed item is tried again.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop all work and release everything; may be called again."""
