"""What is remembered of a database's queries: the journal, and a store of vectors that finds similar ones.

The store holds one record per query, the best that was measured on it, under the embedder's vector. It is brought up to date
with the journal whenever the memory is opened, and made anew where its embedder has changed or it has lost something.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from trellis.contracts import Embedder, Neighbour, Record, RetrievalStore, Tried
from trellis.memory.journal import Journal, MeasurementEntry, QueryEntry, query_key
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints
from trellis.sql.query import Query


class Memory:
    """A journal with, optionally, a store and an embedder for its queries.

    Args:
        journal: What was measured.
        database: Which database, as `DatabaseBackend.identity` names it: others' measurements are not seen.
        store: Finds similar queries; without it nothing is similar.
        embedder: Makes its vectors; given exactly when the store is.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        database: str,
        store: RetrievalStore | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        if (store is None) != (embedder is None):
            raise ValueError("a store needs an embedder, and an embedder a store: give both or neither")
        self.journal = journal
        self.database = database
        self.store = store
        self.embedder = embedder
        self._seen = 0
        if store is not None and embedder is not None:
            mark = f"{database}/{type(store).__name__}/{embedder.version}"
            self._note = f"indexed {database}"
            if journal.note(self._note) != mark or store.count() != len(self._best_by_key()):
                self.rebuild()
                journal.note(self._note, mark)
        self._seen = max((m.id for m in journal.measurements(database=database)), default=0)

    def tried(self, query: Query) -> list[Tried]:
        """Return what was measured on a query, in order."""
        return [_tried(m) for m in self.journal.measurements(key=query_key(query), database=self.database)]

    def all_tried(self) -> dict[str, list[Tried]]:
        """Return what was measured, by query key."""
        found: dict[str, list[Tried]] = {}
        for m in self.journal.measurements(database=self.database):
            found.setdefault(m.key, []).append(_tried(m))
        return found

    def remember(self, query: Query, measurement: MeasurementEntry) -> int:
        """Note a measurement, and put it into the store if it is the query's best."""
        number = self.journal.add_measurement(measurement)
        if self.store is not None:
            best = self._best_by_key(key=measurement.key).get(measurement.key)
            if best is not None:
                self.store.add(self._records([(query, best)]))
        return number

    def neighbours(self, query: Query, k: int) -> list[Neighbour]:
        """Return up to k similar queries with the best measured on each, most similar first, `query` not among them."""
        if self.store is None or self.embedder is None or k < 1:
            return []
        own = query_key(query)
        (vector,) = self.embedder.embed([query])
        found = []
        for match in self.store.query(vector, k + 1):
            entry = self.journal.query(match.record.id)
            if entry is None or entry.key == own:
                continue
            best = Tried(
                parse_hints(str(match.record.data["hints"])),
                float(match.record.data["speedup"]),  # type: ignore[arg-type]
                str(match.record.data["judgement"]),
            )
            same = entry.fingerprint == query.fingerprint
            found.append(Neighbour(read_entry(entry), match.similarity, best, same))
        return found[:k]

    def rebuild(self) -> None:
        """Make the store anew from the journal."""
        if self.store is None:
            return
        best = self._best_by_key()
        entries = {entry.key: entry for entry in self.journal.queries() if entry.key in best}
        self.store.clear()
        pairs = [(read_entry(entries[key]), m) for key, m in best.items()]
        for first in range(0, len(pairs), 1000):
            self.store.add(self._records(pairs[first : first + 1000]))
        self.store.rebuild()

    def _best_by_key(self, *, key: str | None = None) -> dict[str, MeasurementEntry]:
        best: dict[str, MeasurementEntry] = {}
        for m in self.journal.measurements(key=key, database=self.database):
            worth = m.speedup if m.judgement == "faster" else min(m.speedup, 1.0)
            if m.key not in best or worth > best[m.key].speedup:
                best[m.key] = m
        return best

    def _records(self, pairs: Sequence[tuple[Query, MeasurementEntry]]) -> list[Record]:
        assert self.embedder is not None
        vectors = self.embedder.embed([query for query, _ in pairs])
        return [
            Record(
                m.key,
                vector,
                {"fingerprint": q.fingerprint, "hints": m.hints, "speedup": m.speedup, "judgement": m.judgement},
            )
            for (q, m), vector in zip(pairs, vectors, strict=True)
        ]


def read_entry(entry: QueryEntry) -> Query:
    """Return a journal's query, read again."""
    return _read(entry.sql, entry.dialect)


@lru_cache(maxsize=4096)
def _read(sql: str, dialect: str) -> Query:
    from trellis.sql.reader import parse_query

    return parse_query(sql, dialect=dialect)


def _tried(m: MeasurementEntry) -> Tried:
    return Tried(parse_hints(m.hints) if m.hints else PlanHints(), m.speedup, m.judgement, m.median_ms, m.source)
