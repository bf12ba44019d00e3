"""Checks of stores: what is added is found, by similarity and condition, and nothing else is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from trellis.contracts.store import Match, Record, RetrievalStore, fits
from trellis.testing.check import Check, Subject, expect
from trellis.types import JSON

LENGTH = 8
NUM_RECORDS = 40
TOLERANCE = 1e-4
"""How far a cosine may be off: stores keep 32 bits of a number."""

UNICODE = "Größe/查询 🌳'\";--"
BESIDE: Mapping[str, JSON] = {
    "text": UNICODE,
    "flag": True,
    "number": 3,
    "half": 0.5,
    "nothing": None,
    "list": [1, "a", {"x": None}],
    "object": {"a": [1.5, False]},
    "": "a key without a name",
}


def vector(seed: int, length: int = LENGTH) -> tuple[float, ...]:
    """Return a vector of small whole numbers, which 32 bits hold exactly."""
    random = Random(seed)
    return (*(float(random.randint(-9, 9)) for _ in range(length - 1)), 1.0)


def records(count: int = NUM_RECORDS) -> list[Record]:
    """Return records whose data tell them apart."""
    return [Record(f"r{i}", vector(i), {"i": i, "even": i % 2 == 0, "third": f"t{i % 3}"}) for i in range(count)]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two vectors, neither of zeros."""
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def what_is_added_is_got(subject: Subject) -> None:
    """A record that comes back changed sends a query to another's plans.

    `get` returns records as they were added, in the order of the ids, with None where there is none.
    """
    with _open(subject) as store:
        added = records()
        store.add(added)
        asked = ["r7", "missing", "r0", "r7"]
        found = store.get(asked)
        expect(
            [record and record.id for record in found] == ["r7", None, "r0", "r7"],
            f"get({asked}) gave {[record and record.id for record in found]}",
        )
        for record in store.get([record.id for record in added]):
            expect(record is not None and _same(record, added[int(record.id[1:])]), f"it came back as {record}")
        expect(store.get([]) == [], "get([]) gave something")


def the_same_id_replaces(subject: Subject) -> None:
    """A query measured again must not be found twice, once with old news.

    Adding an id that is there replaces its vector and data; in one call the last of an id counts.
    """
    with _open(subject) as store:
        store.add(records(4))
        store.add(
            [Record("r1", vector(91), {"i": 91}), Record("r2", vector(0), {}), Record("r2", vector(92), {"i": 92})]
        )
        expect(store.count() == 4, f"4 ids were added, two of them again; count() is {store.count()}")
        for id_, i in (("r1", 91), ("r2", 92)):
            (record,) = store.get([id_])
            expect(
                record is not None and _same(record, Record(id_, vector(i), {"i": i})), f"{id_} came back as {record}"
            )
            found = [match.record.id for match in store.query(vector(i), 9)]
            expect(found[:1] == [id_], f"{id_} was replaced; the nearest to its new vector is {found[:1]}")
            expect(found.count(id_) == 1, f"{id_} was replaced and is found {found.count(id_)} times")


def matches_are_in_order_of_similarity(subject: Subject) -> None:
    """Prompts show the first few neighbours: the nearest must come first, with its true cosine.

    Return at most `k` matches, the highest cosine first; the length of a vector does not matter.
    """
    with _open(subject) as store:
        store.add([Record("far", (-1.0, 0.0), {}), Record("near", (30.0, 3.0), {}), Record("middle", (0.1, 0.1), {})])
        found = store.query((2.0, 0.0), 3)
        names = [match.record.id for match in found]
        expect(names == ["near", "middle", "far"], f"the order is {names}, not near, middle, far")
        for match, right in zip(found, (30 / math.hypot(30, 3), math.sqrt(0.5), -1.0), strict=True):
            expect(
                abs(match.similarity - right) < TOLERANCE, f"the cosine is {right}, the similarity {match.similarity}"
            )
        expect(len(store.query((2.0, 0.0), 2)) == 2, f"k=2 gave {len(store.query((2.0, 0.0), 2))} matches")
        expect(store.query((2.0, 0.0), 0) == [], "k=0 gave something")


def where_filters_on_data(subject: Subject) -> None:
    """Neighbours are wanted of one kind; too few of them because others took their places are none.

    `where` holds for every match, and up to `k` that fulfil it are found however many nearer ones do not.
    """
    with _open(subject) as store:
        added = records()
        store.add(added)
        conditions: list[dict[str, JSON]] = [
            {"even": True}, {"i": 17}, {"third": "t1", "even": False}, {"absent": 1}, {"i": "17"}, {},
        ]  # fmt: skip
        for where in conditions:
            right = {record.id for record in added if fits(record.data, where)}
            found = store.query(vector(500), NUM_RECORDS, where)
            ids = [match.record.id for match in found]
            expect(set(ids) == right, f"where={where} gave {sorted(ids)}, not {sorted(right)}")
            few = store.query(vector(500), 3, where)
            expect(len(few) == min(3, len(right)), f"where={where} and k=3 gave {len(few)} matches of {len(right)}")


def no_neighbour_is_missed(subject: Subject) -> None:
    """With "exact" every search equals a comparison with all records.

    Compare with all of them, or do not declare "exact".
    """
    with _open(subject) as store:
        many = [Record(f"r{i}", vector(i), {}) for i in range(400)]
        store.add(many)
        store.delete([f"r{i}" for i in range(0, 400, 5)])
        left = [record for record in many if int(record.id[1:]) % 5]
        for seed in range(1000, 1020):
            asked = vector(seed)
            right = sorted((cosine(record.vector, asked) for record in left), reverse=True)[:10]
            found = store.query(asked, 10)
            off = [abs(match.similarity - value) for match, value in zip(found, right, strict=False)]
            expect(
                len(found) == 10 and max(off) < TOLERANCE,
                f"the ten highest cosines are {right}, it found {[match.similarity for match in found]}",
            )
            for match in found:
                value = cosine(match.record.vector, asked)
                expect(abs(match.similarity - value) < TOLERANCE, f"{match} has the cosine {value}")


def deleted_records_are_gone(subject: Subject) -> None:
    """What a person asked to forget must not turn up again.

    `delete` returns how many of the ids were there, and neither `get` nor `query` finds them afterwards.
    """
    with _open(subject) as store:
        store.add(records(10))
        store.query(vector(3), 3)
        expect(store.delete(["r3", "missing", "r4"]) == 2, "two of three ids were there; delete did not return 2")
        expect(store.delete(["r3"]) == 0 and store.delete([]) == 0, "nothing was there; delete did not return 0")
        expect(store.count() == 8, f"10 records, 2 deleted; count() is {store.count()}")
        expect(store.get(["r3"]) == [None], "r3 was deleted, get returns it")
        found = [match.record.id for match in store.query(vector(3), 10)]
        expect("r3" not in found, "r3 was deleted, query returns it")
        store.add([records(10)[3]])
        expect(store.query(vector(3), 1)[0].record.id == "r3", "r3 was deleted and added again, query misses it")


def clear_forgets_all_and_the_length(subject: Subject) -> None:
    """Another embedder fills the store anew, with vectors of another length.

    `clear` empties the store; the next record sets the length.
    """
    with _open(subject) as store:
        store.add(records(5))
        store.query(vector(1), 2)
        store.clear()
        expect(store.count() == 0, f"cleared, count() is {store.count()}")
        expect(store.get(["r1"]) == [None], "cleared, get returns a record")
        longer = Record("longer", vector(1, LENGTH + 5), {})
        store.add([longer])
        found = [match.record.id for match in store.query(longer.vector, 3)]
        expect(found == ["longer"], f"cleared and filled with one longer vector, query gave {found}")


def records_outlive_the_store(subject: Subject) -> None:
    """With "persistent" what was learned yesterday is there today.

    What `add`, `delete` and `clear` did is on disk when they return, in the place that the config names.
    """
    with TemporaryDirectory() as directory:
        if "path" in type(subject.make_config()).model_fields:
            subject = Subject(subject.component, {**subject.config, "path": str(Path(directory) / "store")})
        with _open(subject) as store:
            store.add(records(6))
            store.delete(["r5"])
            store.close()
            again: RetrievalStore = subject.make()
            try:
                expect(again.count() == 5, f"5 records were left, another instance counts {again.count()}")
                found = again.query(vector(2), 1)
                expect(found and _same(found[0].record, records()[2]), f"another instance finds {found}, not r2")
            finally:
                again.clear()
                again.close()


def wrong_vectors_are_refused(subject: Subject) -> None:
    """One NaN makes every cosine NaN, and a vector of another embedder compares with nothing.

    Raise a `ValueError` that names the lengths, or says that a number is not finite; add nothing of the call.
    """
    with _open(subject) as store:
        store.add(records(3))
        bad: list[tuple[tuple[float, ...], str]] = [
            ((math.nan,) * LENGTH, "NaN"),
            ((math.inf, *vector(1)[1:]), "infinity"),
            (vector(1, LENGTH - 1), "another length"),
            ((), "no numbers"),
        ]
        for wrong, what in bad:
            good = Record("good", vector(50), {})
            _expect_value_error(lambda: store.add([good, Record("bad", wrong, {})]), f"a record with {what} was added")  # noqa: B023
            _expect_value_error(lambda: store.query(wrong, 1), f"a query with {what} was answered")  # noqa: B023
            expect(store.get(["good", "bad"]) == [None, None], f"a call with {what} was refused, but added something")


def an_empty_store_finds_nothing(subject: Subject) -> None:
    """The first query of all meets an empty memory.

    Before anything is added, every method works and finds nothing.
    """
    with _open(subject) as store:
        found = store.query(vector(1), 3), store.query(vector(1), 3, {"a": 1})
        expect(found == ([], []), f"empty, query gave {found}")
        expect(
            store.count() == 0 and store.get(["r1"]) == [None] and store.delete(["r1"]) == 0,
            "empty, it finds something",
        )
        store.rebuild()
        store.clear()
        store.add([])
        expect(store.count() == 0, f"nothing was added, count() is {store.count()}")


def k_may_exceed_the_count(subject: Subject) -> None:
    """A young memory holds fewer queries than a prompt has room for.

    Return all records, each once.
    """
    with _open(subject) as store:
        store.add(records(3))
        found = sorted(match.record.id for match in store.query(vector(1), 1000))
        expect(found == ["r0", "r1", "r2"], f"3 records, k=1000 gave {found}")


def ids_and_data_are_any_text(subject: Subject) -> None:
    """Queries hold quotes, line breaks and every script; data hold nested JSON.

    Bind values, never write them into a statement; encode data as JSON text where the store cannot hold it.
    """
    with _open(subject) as store:
        added = [Record(UNICODE, vector(1), BESIDE), Record("line\nbreak", vector(2), {"naïve": UNICODE})]
        store.add(added)
        for record in added:
            (got,) = store.get([record.id])
            expect(got is not None and _same(got, record), f"{record} came back as {got}")
        found = store.query(vector(1), 1, {"text": UNICODE})
        expect(found and _same(found[0].record, added[0]), f"where text={UNICODE!r} gave {found}")
        expect(store.delete([UNICODE]) == 1, f"deleting {UNICODE!r} did not return 1")


def zeros_are_similar_to_nothing(subject: Subject) -> None:
    """An embedder gives zeros where it knows nothing of a query.

    The similarity of a vector of zeros to any other is 0, never NaN, and no error.
    """
    with _open(subject) as store:
        store.add([Record("zeros", (0.0, 0.0), {}), Record("some", (1.0, 0.0), {})])
        found = {match.record.id: match.similarity for match in store.query((1.0, 0.0), 2)}
        expect(
            found.keys() == {"zeros", "some"} and abs(found["zeros"]) < TOLERANCE,
            f"zeros and another vector gave {found}",
        )
        found = {match.record.id: match.similarity for match in store.query((0.0, 0.0), 2)}
        expect(all(abs(value) < TOLERANCE for value in found.values()), f"asked with zeros, it gave {found}")


def rebuild_keeps_everything(subject: Subject) -> None:
    """An index made anew must know what the old one knew.

    `rebuild` changes neither records nor what searches return.
    """
    with _open(subject) as store:
        store.add(records())
        store.delete(["r9"])
        before = _shown(store.query(vector(3), 10))
        store.rebuild()
        expect(store.count() == NUM_RECORDS - 1, f"{NUM_RECORDS - 1} records, rebuilt, count() is {store.count()}")
        after = _shown(store.query(vector(3), 10))
        expect(after == before, f"before rebuilding it found {before}, afterwards {after}")


def a_store_may_be_closed_twice(subject: Subject) -> None:
    """Whoever owns a store closes it, and so does the engine when a run ends.

    Make `close` do nothing the second time.
    """
    store: RetrievalStore = subject.make()
    store.close()
    store.close()


@contextmanager
def _open(subject: Subject) -> Iterator[RetrievalStore]:
    store: RetrievalStore = subject.make()
    try:
        count = store.count()
        expect(
            count == 0,
            f"the store that the config names holds {count} records, and the checks clear it: name an empty one",
        )
        yield store
    finally:
        store.close()
        # Another instance: this one may be closed already.
        last: RetrievalStore = subject.make()
        last.clear()
        last.close()


def _same(one: Record, other: Record) -> bool:
    near = all(abs(a - b) < TOLERANCE for a, b in zip(one.vector, other.vector, strict=False))
    return one.id == other.id and near and len(one.vector) == len(other.vector) and dict(one.data) == dict(other.data)


def _shown(matches: Sequence[Match]) -> list[tuple[str, float]]:
    return [(match.record.id, round(match.similarity, 4)) for match in matches]


def _expect_value_error(work: Callable[[], object], otherwise: str) -> None:
    try:
        work()
    except ValueError:
        return
    expect(False, otherwise)


CHECKS = (
    Check.of("store", what_is_added_is_got),
    Check.of("store", the_same_id_replaces),
    Check.of("store", matches_are_in_order_of_similarity),
    Check.of("store", where_filters_on_data),
    Check.of("store", no_neighbour_is_missed, {"exact"}),
    Check.of("store", deleted_records_are_gone),
    Check.of("store", clear_forgets_all_and_the_length),
    Check.of("store", records_outlive_the_store, {"persistent"}),
    Check.of("store", wrong_vectors_are_refused),
    Check.of("store", an_empty_store_finds_nothing),
    Check.of("store", k_may_exceed_the_count),
    Check.of("store", ids_and_data_are_any_text),
    Check.of("store", zeros_are_similar_to_nothing),
    Check.of("store", rebuild_keeps_everything),
    Check.of("store", a_store_may_be_closed_twice),
)
