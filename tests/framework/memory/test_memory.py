from dataclasses import replace

import pytest
from entries import decision, measurement, query

from trellis.contracts import Record
from trellis.memory.journal import Journal, query_key
from trellis.memory.memory import Memory
from trellis_embed.config import NgramsConfig
from trellis_embed.ngrams import Ngrams
from trellis_sqlite.config import SQLiteConfig
from trellis_sqlite.store import SQLiteStore


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "memory.db")
    yield journal
    journal.close()


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore(SQLiteConfig(path=str(tmp_path / "vectors.db")))
    yield store
    store.close()


class CountingNgrams(Ngrams):
    embedded = 0

    def embed(self, queries):
        self.embedded += len(queries)
        return super().embed(queries)


def ngrams(**config):
    return CountingNgrams(NgramsConfig(dimension=64, **config))


def open_memory(journal, store, embedder=None):
    return Memory(journal, database="shop", store=store, embedder=embedder or ngrams())


@pytest.fixture
def memory(journal, store):
    memory = open_memory(journal, store)
    for number in (1000, 1001, 5):
        memory.remember(query(number), measurement(number))
    return memory


def keys(neighbours):
    return [query_key(neighbour.query) for neighbour in neighbours]


def test_neighbours_are_the_other_queries_most_similar_first(memory):
    found = memory.neighbours(query(1001), 5)
    assert keys(found) == [query_key(query(1000)), query_key(query(5))]
    assert found[0].similarity > found[1].similarity
    assert all(neighbour.same_template for neighbour in found)
    assert keys(memory.neighbours(query(77), 1)) == keys(memory.neighbours(query(77), 5))[:1]
    assert len(memory.neighbours(query(77), 5)) == 3
    assert memory.neighbours(query(77), 0) == []


def test_a_neighbour_brings_the_best_that_was_measured_wherever_it_was_noted(memory, journal, store):
    journal.add_measurement(measurement(1000, speedup=7.0))
    memory.remember(query(1000), measurement(1000, speedup=3.0, judgement="undecided", hints="HashJoin(a b)"))
    (nearest, *_) = memory.neighbours(query(1001), 5)
    assert (nearest.best.speedup, nearest.best.judgement) == (7.0, "faster")
    assert store.count() == 3


def test_remembering_embeds_a_query_once(memory):
    memory.embedder.embedded = 0
    for speedup in (3.0, 4.0, 1.0):
        memory.remember(query(1000), measurement(1000, speedup=speedup))
    assert memory.embedder.embedded == 0


def test_a_measurement_of_another_query_is_refused(memory, journal):
    with pytest.raises(ValueError, match="not of"):
        memory.remember(query(1000), measurement(1001))
    assert journal.counts()["measurement"] == 3


def test_what_was_tried_is_told_in_order(memory):
    memory.remember(query(5), measurement(5, judgement="slower", speedup=0.5, hints=""))
    assert [(tried.speedup, tried.judgement) for tried in memory.tried(query(5))] == [(2.0, "faster"), (0.5, "slower")]
    assert not memory.tried(query(5))[1].hints
    assert memory.tried(query(6)) == []
    assert {key: len(tried) for key, tried in memory.all_tried().items()}[query_key(query(5))] == 2


def test_another_databases_measurements_are_not_seen(memory, journal):
    other = Memory(journal, database="other")
    assert other.tried(query(5)) == []
    assert other.neighbours(query(5), 3) == []
    memory.remember(query(5), replace(measurement(5), database="other", speedup=99.0))
    assert max(neighbour.best.speedup for neighbour in memory.neighbours(query(1000), 3)) == 2.0


def test_forgetting_takes_a_query_out_of_journal_and_store(memory, journal, store):
    journal.decide(decision(1000, "serve"))
    assert memory.forget([query(1000), query(4)]) == 1
    assert query_key(query(1000)) not in keys(memory.neighbours(query(1001), 9))
    assert journal.served("shop") == {}
    assert store.count() == 2


def test_what_only_the_journal_forgot_takes_no_neighbours_place(memory, journal):
    for number in range(2000, 2020):
        memory.remember(query(number), measurement(number))
    journal.forget([query_key(query(number)) for number in range(2000, 2020)])
    left = {query_key(query(number)) for number in (1000, 1001, 5)}
    assert set(keys(memory.neighbours(query(2003), 3))) == left


def test_opening_again_embeds_nothing(memory, journal, store):
    embedder = ngrams()
    again = open_memory(journal, store, embedder)
    assert embedder.embedded == 0
    assert keys(again.neighbours(query(1001), 1)) == [query_key(query(1000))]


def test_records_that_the_store_lost_are_added_when_the_memory_is_opened(memory, journal, store):
    before = keys(memory.neighbours(query(1001), 5))
    store.delete([query_key(query(5))])
    embedder = ngrams()
    assert keys(open_memory(journal, store, embedder).neighbours(query(1001), 5)) == before
    assert embedder.embedded == 1 + 1
    store.clear()
    assert keys(open_memory(journal, store).neighbours(query(1001), 5)) == before


def test_a_store_filled_by_another_version_of_the_embedder_is_made_anew(memory, journal, store):
    again = open_memory(journal, store, ngrams(n=2))
    assert {record.data["embedder"] for record in store.get(journal.measured_keys("shop"))} == {again.embedder.version}
    longer = open_memory(journal, store, Ngrams(NgramsConfig(dimension=32)))
    assert len(longer.neighbours(query(1001), 5)) == 2


def test_a_store_that_holds_what_the_journal_does_not_is_made_anew(memory, journal, store):
    strange = Record(
        "strange", store.get(journal.measured_keys("shop"))[0].vector, {"embedder": memory.embedder.version}
    )
    store.add([strange])
    open_memory(journal, store)
    assert store.count() == 3
    assert store.get(["strange"]) == [None]


def test_rebuilding_changes_nothing_that_is_found(memory):
    before = keys(memory.neighbours(query(1001), 5))
    memory.rebuild()
    assert keys(memory.neighbours(query(1001), 5)) == before


def test_a_store_without_an_embedder_is_refused(journal, store):
    with pytest.raises(ValueError, match="give both or neither"):
        Memory(journal, database="shop", store=store)
