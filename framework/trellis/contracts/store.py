"""RetrievalStore: remembers records by vector."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    @classmethod
    def set_aside(cls, config: Any) -> Path | None:
        """Move what a store under this configuration keeps in files out of the way, unread, and return where it is now.

        The way out where files are too damaged to be opened: the next store made with the configuration begins empty. None
        where there is nothing to move.

        Args:
            config: As the constructor takes it.

        Raises:
            MemoryFileError: It is another program's, or in use.
        """
        return None

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


def check_vector(vector: Sequence[float], length: int | None, *, whose: str) -> None:
    """Refuse a vector that a store cannot compare.

    Args:
        vector: The vector.
        length: How long the store's vectors are; None while it has none.
        whose: Whose vector it is, for the message, e.g. "record 'q1'".

    Raises:
        ValueError: It is empty, has another length, or a number in it is not finite.
    """
    if not vector:
        raise ValueError(f"the vector of {whose} is empty")
    if length is not None and len(vector) != length:
        raise ValueError(
            f"the vector of {whose} has length {len(vector)}, the store's have {length}: use the embedder that filled the "
            "store, or clear the store first"
        )
    if not all(map(math.isfinite, vector)):
        raise ValueError(f"the vector of {whose} holds a number that is not finite, such as NaN")


def fits(data: Mapping[str, JSON], where: Mapping[str, JSON]) -> bool:
    """Return whether a record's data have every key of `where` with an equal value: 1 equals 1.0, and true equals neither."""
    return all(key in data and _equal(data[key], value) for key, value in where.items())


def _equal(one: JSON, other: JSON) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
