"""The stores: a collection of Chroma under the cosine, filled with vectors that were made elsewhere.

A record's data are kept as JSON text, and their texts, numbers and truth values once more for Chroma to filter by, under names
that it allows. Chroma's index (HNSW) may miss a neighbour; a condition on lists, objects or null is refused.

A vector of zeros, whose cosine Chroma does not know, is put as another vector with a mark.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from trellis.contracts.store import Match, Record, RetrievalStore, check_vector, fits
from trellis.errors import DatabaseError, MemoryFileError
from trellis.types import JSON
from trellis_chroma.config import ChromaConfig, ChromaServerConfig

_DATA, _ZEROS, _FIELD = "data", "zeros", "field "
_LOCK = "trellis.lock"
_LARGEST = 3.4e38
"""What 32 bits hold, nearly."""

_AT_ONCE = 1000


class _Collection(RetrievalStore):
    """What both have in common."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._open()

    def add(self, records: Sequence[Record]) -> None:
        """Add records, replacing those with the same id."""
        rows = {}
        with self._told():
            length = self._dimension()
        for record in records:
            check_vector(record.vector, length, whose=f"record {record.id!r}")
            if not record.id:
                raise ValueError("a record has an empty id")
            length = len(record.vector)
            rows[record.id] = (record.id, _kept(record.vector, f"record {record.id!r}"), _metadata(record))
        with self._told():
            some = list(rows.values())
            for first in range(0, len(some), _AT_ONCE):
                ids, vectors, data = zip(*some[first : first + _AT_ONCE], strict=True)
                self._collection.upsert(ids=list(ids), embeddings=list(vectors), metadatas=list(data))

    def query(self, vector: Sequence[float], k: int, where: Mapping[str, JSON] | None = None) -> list[Match]:
        """Return the `k` most similar records whose data equal `where`, most similar first."""
        condition = _condition(where or {})
        with self._told():
            length = self._dimension()
        check_vector(vector, length, whose="the query")
        asked = _kept(vector, "the query")
        with self._told():
            count = self._collection.count()
            if k < 1 or not count:
                return []
            # As many as there are: Chroma complains of more.
            found = self._collection.query(
                query_embeddings=[asked],
                n_results=min(k, count),
                where=condition,
                include=["metadatas", "embeddings", "distances"],
            )
        matches = []
        rows = zip(found["ids"][0], found["embeddings"][0], found["metadatas"][0], found["distances"][0], strict=True)
        for id_, kept, data, distance in rows:
            record = _record(id_, kept, data)
            similarity = 1.0 - float(distance) if any(vector) and any(record.vector) else 0.0
            if fits(record.data, where or {}):
                matches.append(Match(record, min(1.0, max(-1.0, similarity))))
        return sorted(matches, key=lambda match: -match.similarity)

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, None where there is none."""
        records: dict[str, Record] = {}
        some = [id_ for id_ in dict.fromkeys(ids) if id_]
        with self._told():
            for first in range(0, len(some), _AT_ONCE):
                found = self._collection.get(ids=some[first : first + _AT_ONCE], include=["metadatas", "embeddings"])
                rows = zip(found["ids"], found["embeddings"], found["metadatas"], strict=True)
                records.update({id_: _record(id_, kept, data) for id_, kept, data in rows})
        return [records.get(id_) for id_ in ids]

    def delete(self, ids: Sequence[str]) -> int:
        """Forget these ids and return how many there were."""
        there = list({record.id for record in self.get(ids) if record is not None})
        with self._told():
            for first in range(0, len(there), _AT_ONCE):
                self._collection.delete(ids=there[first : first + _AT_ONCE])
        return len(there)

    def clear(self) -> None:
        """Forget all records; vectors of another length may come next."""
        with self._told():
            self._client.delete_collection(self._name)
        self._open()

    def count(self) -> int:
        """Return how many records there are."""
        with self._told():
            return int(self._collection.count())

    def rebuild(self) -> None:
        """Put all records into a new collection."""
        with self._told():
            ids = self._collection.get(include=[])["ids"]
        records = [record for record in self.get(ids) if record is not None]
        self.clear()
        self.add(records)

    def _open(self) -> None:
        with self._told():
            self._collection = self._client.get_or_create_collection(
                self._name, embedding_function=None, configuration={"hnsw": {"space": "cosine", "ef_search": 200}}
            )

    def _dimension(self) -> int | None:
        found = self._collection.peek(1)["embeddings"]
        return len(found[0]) if len(found) else None

    @abstractmethod
    def _told(self) -> AbstractContextManager[None]:
        """Return a context that turns what Chroma raises into an error of ours."""


class Chroma(_Collection):
    """Chroma in a directory, locked for this process until it is closed.

    Args:
        config: Where.

    Raises:
        MemoryFileError: Another process has the directory, or it is damaged.
    """

    Config = ChromaConfig

    def __init__(self, config: ChromaConfig) -> None:
        self.config = config
        self.path = Path(config.path).expanduser()
        # A store that nobody closes gives its directory back when it is collected.
        self._unlock = weakref.finalize(self, os.close, _locked(self.path))
        try:
            with self._told():
                client = chromadb.PersistentClient(str(self.path), settings=Settings(anonymized_telemetry=False))
            super().__init__(client, config.collection)
        except BaseException:
            self._unlock()
            raise

    @classmethod
    def set_aside(cls, config: ChromaConfig) -> Path | None:
        """Rename the directory, and return its new path; None where there is none.

        Raises:
            MemoryFileError: Another store has it, or it is none of Chroma's.
        """
        path = Path(config.path).expanduser()
        if not path.exists():
            return None
        if not any((path / name).exists() for name in ("chroma.sqlite3", _LOCK)):
            raise MemoryFileError(path, reason="it is no directory of Chroma's. Name another.")
        lock = _locked(path)
        try:
            return path.rename(path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"))
        finally:
            os.close(lock)

    def close(self) -> None:
        """Give the directory back; may be called again."""
        if self._unlock.alive:
            self._client.close()
            self._unlock()

    @contextmanager
    def _told(self) -> Iterator[None]:
        # Chroma's errors have no common root, and its core, in Rust, panics with a BaseException of its own.
        try:
            yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            raise MemoryFileError(
                self.path,
                reason=f"Chroma says {type(error).__name__}: {error}. If it is damaged, `trellis sql rebuild --store "
                "chroma` sets it aside and fills a new one from the journal.",
            ) from error


class ChromaServer(_Collection):
    """A Chroma server.

    Args:
        config: Where.

    Raises:
        DatabaseError: It cannot be reached.
    """

    Config = ChromaServerConfig

    def __init__(self, config: ChromaServerConfig) -> None:
        self.config = config
        with self._told():
            client = chromadb.HttpClient(
                config.host, config.port, ssl=config.ssl, settings=Settings(anonymized_telemetry=False)
            )
        super().__init__(client, config.collection)

    def close(self) -> None:
        """Close the connection; may be called again."""
        self._client.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            where = f"{self.config.host}:{self.config.port}"
            raise DatabaseError(f"the Chroma server at {where}: {type(error).__name__}: {error}") from error


def _locked(path: Path) -> int:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise MemoryFileError(path, reason=str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        reason = "another store has it. Close that one, or use `chroma-server` or `sqlite`, which several processes may share."
        raise MemoryFileError(path, reason=reason) from error
    return lock


def _kept(vector: Sequence[float], whose: str) -> list[float]:
    if any(abs(value) > _LARGEST for value in vector):
        raise ValueError(f"the vector of {whose} holds a number that is too large for 32 bits")
    return list(vector) if any(vector) else [1.0] + [0.0] * (len(vector) - 1)


def _metadata(record: Record) -> dict[str, str | int | float | bool]:
    data = dict(record.data)
    fields = {f"{_FIELD}{key}": value for key, value in data.items() if isinstance(value, str | int | float)}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return {**fields, _DATA: text, _ZEROS: not any(record.vector)}


def _record(id_: str, kept: Sequence[float], data: Mapping[str, Any]) -> Record:
    vector = (0.0,) * len(kept) if data[_ZEROS] else tuple(map(float, kept))
    return Record(id_, vector, json.loads(data[_DATA]))


def _condition(where: Mapping[str, JSON]) -> dict[str, Any] | None:
    for key, value in where.items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"where {key}={value!r}: Chroma compares texts, numbers and truth values only")
    parts = [{f"{_FIELD}{key}": {"$eq": value}} for key, value in where.items()]
    return None if not parts else parts[0] if len(parts) == 1 else {"$and": parts}
