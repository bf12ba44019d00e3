"""What is remembered of a database's queries: the journal, and a store of vectors that finds similar ones.

The store holds one record per query of which something was measured, under the embedder's vector; what was measured is always
read from the journal, so that a store can lack a query, and never tells of it what is no longer so. When the memory is opened,
lacking queries are added, and a store that another embedder's version filled, or that holds what the journal does not, is made
anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from trellis.contracts import Embedder, Neighbour, Record, RetrievalStore, Tried
from trellis.memory.journal import Journal, MeasurementEntry, QueryEntry, newest, query_key
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints
from trellis.sql.query import Query

_AT_ONCE = 1000
_SAMPLE = 64
"""Records whose embedder is looked at when a memory is opened."""


class Memory:
    """A journal with, optionally, a store and an embedder for its queries.

    Args:
        journal: What was measured.
        database: Which database, as `DatabaseBackend.identity` names it: others' measurements are not seen.
        store: Finds similar queries, for this database and journal alone; without it nothing is similar.
        embedder: Makes its vectors; given exactly when the store is.
        parse: Reads a query's text as its database does (`DatabaseBackend.parse`); left out, without a catalog, which knows
            less of columns that no alias qualifies.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        database: str,
        store: RetrievalStore | None = None,
        embedder: Embedder | None = None,
        parse: Callable[[str], Query] | None = None,
    ) -> None:
        if (store is None) != (embedder is None):
            raise ValueError("a store needs an embedder, and an embedder a store: give both or neither")
        self.journal = journal
        self.database = database
        self.store = store
        self.embedder = embedder
        self._parse = parse
        if store is not None:
            self._catch_up(store)

    def tried(self, query: Query) -> list[Tried]:
        """Return what was measured on a query, in order; of hints measured several times the newest measurement."""
        return [tried_of(m) for m in newest(self.journal.measurements(key=query_key(query), database=self.database))]

    def all_tried(self) -> dict[str, list[Tried]]:
        """Return what was measured, by query key, as `tried` has it."""
        found: dict[str, list[MeasurementEntry]] = {}
        for m in self.journal.measurements(database=self.database):
            found.setdefault(m.key, []).append(m)
        return {key: [tried_of(m) for m in newest(entries)] for key, entries in found.items()}

    def remember(self, query: Query, measurement: MeasurementEntry) -> int:
        """Note a measurement, of a query that need not be known, and return its number."""
        if measurement.key != self.journal.add_query(query):
            raise ValueError(f"the measurement is of the query {measurement.key}, not of {query_key(query)}")
        number = self.journal.add_measurement(measurement)
        if self.store is not None and self.store.get([measurement.key]) == [None]:
            self.store.add(self._records([(measurement.key, query)]))
        return number

    def forget(self, queries: Sequence[Query]) -> int:
        """Delete all that is known of queries, and return how many there were."""
        keys = [query_key(query) for query in queries]
        count = self.journal.forget(keys)
        if self.store is not None:
            self.store.delete(keys)
        return count

    def neighbours(self, query: Query, k: int) -> list[Neighbour]:
        """Return up to k similar queries with the best measured on each, most similar first, `query` not among them."""
        if self.store is None or self.embedder is None or k < 1:
            return []
        own = query_key(query)
        (vector,) = self.embedder.embed([query])
        asked = k + 1
        while True:
            matches = [match for match in self.store.query(vector, asked) if match.record.id != own]
            best = self.journal.best(self.database, [match.record.id for match in matches])
            known = [match for match in matches if match.record.id in best]
            # Fewer than asked for: there are no more. What the journal has forgotten takes places until the next opening.
            if len(known) >= k or len(matches) < asked - 1:
                break
            asked *= 2
        found = []
        for match in known[:k]:
            entry = self.journal.query(match.record.id)
            if entry is not None:
                same = entry.fingerprint == query.fingerprint
                found.append(Neighbour(self.read(entry), match.similarity, tried_of(best[entry.key]), same))
        return found

    def read(self, entry: QueryEntry) -> Query:
        """Return a query of the journal, read again."""
        return read_entry(entry) if self._parse is None else self._parse(entry.sql)

    def rebuild(self) -> None:
        """Make the store anew from the journal."""
        if self.store is not None:
            self.store.clear()
            self._add(self.store, self.journal.measured_keys(self.database))
            self.store.rebuild()

    def _catch_up(self, store: RetrievalStore) -> None:
        keys = self.journal.measured_keys(self.database)
        sample = [record for record in store.get(keys[:: len(keys) // _SAMPLE + 1]) if record is not None]
        if any(record.data.get("embedder") != self._version for record in sample):
            self.rebuild()
            return
        if store.count() == len(keys):
            return
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            self._add(store, [key for key, record in zip(some, store.get(some), strict=True) if record is None])
        # Another process may have added a query meanwhile; what it added is in the journal.
        if store.count() > len(self.journal.measured_keys(self.database)):
            self.rebuild()

    def _add(self, store: RetrievalStore, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _AT_ONCE):
            entries = [self.journal.query(key) for key in keys[first : first + _AT_ONCE]]
            store.add(self._records([(entry.key, self.read(entry)) for entry in entries if entry is not None]))

    @property
    def _version(self) -> str:
        return "" if self.embedder is None else self.embedder.version

    def _records(self, queries: Sequence[tuple[str, Query]]) -> list[Record]:
        assert self.embedder is not None
        vectors = self.embedder.embed([query for _, query in queries])
        return [
            Record(key, vector, {"embedder": self._version}) for (key, _), vector in zip(queries, vectors, strict=True)
        ]


def read_entry(entry: QueryEntry) -> Query:
    """Return a journal's query, read again."""
    return _read(entry.sql, entry.dialect)


@lru_cache(maxsize=4096)
def _read(sql: str, dialect: str) -> Query:
    from trellis.sql.reader import parse_query

    return parse_query(sql, dialect=dialect)


def tried_of(m: MeasurementEntry) -> Tried:
    """Return a measurement as proposers see it."""
    return Tried(parse_hints(m.hints) if m.hints else PlanHints(), m.speedup, m.judgement, m.median_ms, m.source)
