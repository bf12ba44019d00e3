"""Embedder: turns a query into a vector, so that similar queries are near each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trellis.sql.query import Query


class Embedder(ABC):
    """Vectors of one length whose cosine says how much two queries are alike.

    Deterministic, and the same in every process: a store keeps vectors longer than any of them lives.
    """

    @property
    @abstractmethod
    def version(self) -> str:
        """Names what the vectors mean: a store that was filled under another version is rebuilt from the journal."""

    @abstractmethod
    def embed(self, queries: Sequence[Query]) -> list[tuple[float, ...]]:
        """Return a vector for each query, of length 1 (of zeros alone where nothing is known of it)."""
