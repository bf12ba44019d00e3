"""DatabaseBackend: explains and executes one query under plan hints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trellis.types import JSON


@dataclass(frozen=True, slots=True)
class Execution:
    """How one execution went.

    Attributes:
        latency_ms: Client-side wall-clock time; None if it timed out.
        timed_out: Whether the time-out ended it.
        rows_digest: An order-insensitive digest of the result; None if it timed out.
        plan: The normalised plan tree.
        honoured: For each hint, whether the plan follows it.
    """

    latency_ms: float | None
    timed_out: bool
    rows_digest: str | None
    plan: Mapping[str, JSON]
    honoured: Mapping[str, bool]


class DatabaseBackend(ABC):
    """A database whose planner takes hints. Never changes data, never changes a result.

    Capabilities: "join-order", "join-method", "join-method-per-join", "scan-method", "join-side".
    """

    @abstractmethod
    def catalog(self) -> Mapping[str, Sequence[str]]:
        """Return the columns of each table."""

    @abstractmethod
    def explain(self, query: str, hints: str | None = None) -> Mapping[str, JSON]:
        """Return the plan of one SELECT under hints, without running it."""

    @abstractmethod
    def execute(self, query: str, hints: str | None = None, *, timeout_ms: float) -> Execution:
        """Run one SELECT under hints, read-only, for at most `timeout_ms`."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; may be called again."""
