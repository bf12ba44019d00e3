"""RetrievalStore: remembers records by vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trellis.types import JSON


@dataclass(frozen=True, slots=True)
class Record:
    """Something remembered.

    Attributes:
        id: Unique in its store; adding it again replaces it.
        vector: Its embedding; a store never sees text to embed.
        data: JSON values; `where` filters on the top level.
    """

    id: str
    vector: tuple[float, ...]
    data: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Match:
    """A record found, and its cosine similarity to the query, in [-1, 1]."""

    record: Record
    similarity: float


class RetrievalStore(ABC):
    """Nearest neighbours over records.

    Capabilities: "persistent" (records outlive the process), "exact" (no neighbour is missed).
    """

    @abstractmethod
    def add(self, records: Sequence[Record]) -> None:
        """Add records, replacing those with the same id. All vectors of a store have one length."""

    @abstractmethod
    def query(self, vector: Sequence[float], k: int, where: Mapping[str, JSON] | None = None) -> list[Match]:
        """Return the `k` most similar records whose data equal `where`, most similar first."""

    @abstractmethod
    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, None where there is none."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> int:
        """Forget these ids and return how many there were."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all records; vectors of another length may come next."""

    @abstractmethod
    def count(self) -> int:
        """Return how many records there are."""

    @abstractmethod
    def rebuild(self) -> None:
        """Make the index anew from the records."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; may be called again."""
