"""Stores with one fault each."""

import json
import math
from dataclasses import replace
from pathlib import Path

from faults import breaks

from trellis import Config
from trellis.contracts.store import Match, Record, RetrievalStore, check_vector, fits

EXACT = frozenset({"exact"})
PERSISTENT = frozenset({"persistent"})


class ShelfConfig(Config):
    """Where the records are."""

    path: str = ""
    """A file; empty: nowhere."""


class Shelf(RetrievalStore):
    """A list of records, in a JSON file if it has a path. Nothing is wrong with this one."""

    Config = ShelfConfig

    def __init__(self, config):
        self.config = config
        self.records = {}
        self.length = None
        if config.path and Path(config.path).exists():
            found = json.loads(Path(config.path).read_text())
            self.records = {id_: Record(id_, tuple(vector), data) for id_, vector, data in found}

    def add(self, records):
        self.check([record.vector for record in records])
        for record in records:
            self.records[record.id] = record
            self.length = len(record.vector)
        self.save()

    def check(self, vectors):
        length = self.length
        for vector in vectors:
            check_vector(vector, length, whose="a record")
            length = len(vector)

    def query(self, vector, k, where=None):
        self.check([vector])
        fitting = [record for record in self.records.values() if fits(record.data, where or {})]
        matches = [Match(record, self.similarity(record.vector, vector)) for record in fitting]
        return sorted(matches, key=lambda match: -match.similarity)[:k]

    def similarity(self, one, other):
        lengths = math.hypot(*one) * math.hypot(*other)
        return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0

    def get(self, ids):
        return [self.records.get(id_) for id_ in ids]

    def delete(self, ids):
        count = sum(self.records.pop(id_, None) is not None for id_ in ids)
        self.save()
        return count

    def clear(self):
        self.records.clear()
        self.length = None
        self.save()

    def count(self):
        return len(self.records)

    def rebuild(self):
        pass

    def save(self):
        if self.config.path:
            rows = [(record.id, record.vector, record.data) for record in self.records.values()]
            Path(self.config.path).write_text(json.dumps(rows))

    def close(self):
        pass


@breaks("what-is-added-is-got", "store")
class LeavesOutWhatIsMissing(Shelf):
    def get(self, ids):
        found = super().get(ids)
        return [record for record in found if record is not None] if "r0" in ids else found


@breaks("the-same-id-replaces", "store")
class KeepsTheFirst(Shelf):
    def add(self, records):
        super().add([record for record in records if record.id not in self.records])


@breaks("matches-are-in-order-of-similarity", "store")
class ComparesByProduct(Shelf):
    def query(self, vector, k, where=None):
        matches = super().query(vector, len(self.records), where)
        if len(vector) == 2 and math.hypot(*vector) > 0:
            return [replace(match, similarity=match.similarity * math.hypot(*vector)) for match in matches][: max(k, 0)]
        return matches[:k]


@breaks("where-filters-on-data", "store")
class FiltersAfterwards(Shelf):
    def query(self, vector, k, where=None):
        return [match for match in super().query(vector, k) if fits(match.record.data, where or {})]


@breaks("no-neighbour-is-missed", "store", capabilities=EXACT)
class LooksAtTheFirstHundred(Shelf):
    def query(self, vector, k, where=None):
        kept = self.records
        self.records = dict(list(kept.items())[:100])
        found = super().query(vector, k, where)
        self.records = kept
        return found


@breaks("deleted-records-are-gone", "store")
class CountsIdsNotRecords(Shelf):
    def delete(self, ids):
        super().delete(ids)
        return len(ids) if self.records else 0


@breaks("clear-forgets-all-and-the-length", "store")
class KeepsTheLength(Shelf):
    def __init__(self, config):
        super().__init__(config)
        self.first = None

    def add(self, records):
        super().add(records)
        if self.length == 8:
            self.first = 8

    def clear(self):
        super().clear()
        self.length = self.first


@breaks("records-outlive-the-store", "store", capabilities=PERSISTENT)
class ForgetsAtClosing(Shelf):
    def close(self):
        self.clear()


@breaks("wrong-vectors-are-refused", "store")
class TakesNaN(Shelf):
    def check(self, vectors):
        for vector in vectors:
            if all(map(math.isfinite, vector)):
                super().check([vector])


@breaks("an-empty-store-finds-nothing", "store")
class CannotBeEmpty(Shelf):
    def query(self, vector, k, where=None):
        if not self.records:
            raise IndexError("no records")
        return super().query(vector, k, where)


@breaks("k-may-exceed-the-count", "store")
class NeedsSoMany(Shelf):
    def query(self, vector, k, where=None):
        if k > 10 * NUM_AT_MOST:
            raise ValueError("k exceeds the number of records")
        return super().query(vector, k, where)


NUM_AT_MOST = 50


@breaks("ids-and-data-are-any-text", "store")
class KeepsASCII(Shelf):
    def add(self, records):
        super().add([replace(record, id=record.id.encode("ascii", "replace").decode()) for record in records])


@breaks("zeros-are-similar-to-nothing", "store")
class DividesByNothing(Shelf):
    def similarity(self, one, other):
        return super().similarity(one, other) if any(one) and any(other) else math.nan


@breaks("rebuild-keeps-everything", "store")
class LosesOneInRebuilding(Shelf):
    def rebuild(self):
        if self.records:
            self.records.popitem()


@breaks("a-store-may-be-closed-twice", "store")
class ShelfClosesOnce(Shelf):
    def close(self):
        del self.records
