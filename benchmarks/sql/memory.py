"""How long a memory of 100,000 measurements takes: opening it, what is served, remembering, and a neighbour query per store.

50,000 queries, two measurements and a decision each, under the embedder `sql-features` with 256 numbers; the queries are of
fifty templates. Stores are filled once, under vectors of the same templates, and asked for eight neighbours.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import RESULTS, spread, write

from trellis import build
from trellis.contracts import Embedder, Record, RetrievalStore
from trellis.memory.journal import DecisionEntry, Journal, MeasurementEntry, query_key
from trellis.memory.memory import Memory
from trellis.sql.query import Query
from trellis.sql.reader import parse_query

RUNS = 30
RECORDS = 100_000
QUERIES = RECORDS // 2
TEMPLATES = 50
K = 8
DATABASE = "benchmark"
AT_ONCE = 1000


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def query(number: int) -> Query:
    template = number % TEMPLATES
    joins = " AND ".join(f"t{i}.id = t{i + 1}.fk" for i in range(2 + template % 5))
    tables = ", ".join(f"t{i}" for i in range(3 + template % 5))
    return parse_query(
        f"SELECT count(*) FROM {tables} WHERE {joins} AND t0.c{template} > {number} AND t1.d = {number % 97}"
    )


def fill(journal: Journal) -> None:
    """Write the entries; committed by the thousand, which no caller of the journal can, to save the benchmark's time."""
    draw = random.Random(1)
    file = journal._file
    for first in range(0, QUERIES, AT_ONCE):
        with file.writing() as db:
            for number in range(first, first + AT_ONCE):
                q = query(number)
                key, at = query_key(q), time.time()
                db.execute(
                    "INSERT INTO query VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (key, q.fingerprint, "[]", q.sql, q.dialect, "", at),
                )
                for _ in range(2):
                    row = (
                        at,
                        key,
                        DATABASE,
                        "",
                        "faster",
                        draw.uniform(0.5, 3),
                        1,
                        2,
                        10,
                        5,
                        12,
                        "d",
                        "random",
                        "c",
                        180004,
                    )
                    db.execute(f"INSERT INTO measurement VALUES (NULL, {', '.join('?' * len(row))})", row)
                decided = (at, key, DATABASE, "serve", "", "measured faster", None)
                db.execute("INSERT INTO decision VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", decided)


def journal_alone(path: Path) -> dict[str, object]:
    journal = Journal(path)
    fill(journal)
    newest = journal.decision_mark()[0]
    journal.close()
    opened = [milliseconds(lambda: Journal(path).close()) for _ in range(RUNS)]
    journal = Journal(path)
    memory = Memory(journal, database=DATABASE)
    own = query(0)
    key = query_key(own)
    noted = MeasurementEntry(key, DATABASE, "", "slower", 0.5, None, None, 1, 2, 1, "d", "random", "c", 180004)
    steps: dict[str, Callable[[], object]] = {
        "served, all": lambda: journal.served(DATABASE),
        "served, what is new": lambda: journal.served(DATABASE, after=newest - 1),
        "decision mark": journal.decision_mark,
        "remember": lambda: memory.remember(own, noted),
        "decide": lambda: journal.decide(DecisionEntry(key, DATABASE, "serve", "", "again")),
    }
    taken = {name: spread([milliseconds(work) for _ in range(RUNS)]) for name, work in steps.items()}
    journal.close()
    return {"open": spread(opened), **taken}


def with_store(
    path: Path, store_of: Callable[[], RetrievalStore], vectors: dict[str, tuple[float, ...]], version: str
) -> object:
    """Measure a memory of all queries on a store; `vectors` are by key."""
    embedder: Embedder = build("sql-features")
    store = store_of()
    keys = list(vectors)

    def add() -> None:
        for first in range(0, len(keys), AT_ONCE):
            store.add([Record(key, vectors[key], {"embedder": version}) for key in keys[first : first + AT_ONCE]])

    filled = milliseconds(add)
    store.close()

    def restart() -> tuple[RetrievalStore, Memory]:
        there, journal = store_of(), Journal(path)
        return there, Memory(journal, database=DATABASE, store=there, embedder=embedder)

    opened = []
    for _ in range(5):
        started = time.perf_counter()
        store, memory = restart()
        opened.append(1000 * (time.perf_counter() - started))
        memory.journal.close()
        store.close()
    store, memory = restart()
    asked = [query(QUERIES + number) for number in range(RUNS)]
    (first_vector,) = embedder.embed(asked[:1])
    first = milliseconds(lambda: store.query(first_vector, K))
    embedded = [embedder.embed([q])[0] for q in asked]
    alone = [milliseconds(lambda: store.query(vector, K)) for vector in embedded]  # noqa: B023
    cold = [milliseconds(lambda: memory.neighbours(q, K)) for q in asked]  # noqa: B023
    warm = [milliseconds(lambda: memory.neighbours(q, K)) for q in asked]  # noqa: B023
    memory.journal.close()
    store.close()
    return {
        "records": len(keys), "fill": filled, "restart": spread(opened), "first query": first, "query": spread(alone),
        "neighbours, not read before": spread(cold), "neighbours, read before": spread(warm),
    }  # fmt: skip


@contextmanager
def stores(directory: Path) -> Iterator[dict[str, Callable[[], RetrievalStore]]]:
    """Yield the stores that can be made here, by name."""
    backend = build("postgres", {"directory": str(directory / "postgres")})
    backend.server.start()
    dsn = backend.admin_dsn()
    found: dict[str, Callable[[], RetrievalStore]] = {
        "sqlite": lambda: build("sqlite", {"path": str(directory / "vectors.db")}),
        "pgvector": lambda: build("pgvector", {"dsn": dsn}),
        "pgvector-hnsw": lambda: build("pgvector-hnsw", {"dsn": dsn, "table": "with_index"}),
        "chroma": lambda: build("chroma", {"path": str(directory / "chroma")}),
    }
    try:
        yield {name: found[name] for name in found if not sys.argv[1:] or name in sys.argv[1:]}
    finally:
        backend.close()


def main() -> None:
    (RESULTS / "sql").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "memory.db"
        measured: dict[str, object] = {"unit": "ms", "journal": journal_alone(path)}
        embedder: Embedder = build("sql-features")
        vectors: dict[str, tuple[float, ...]] = {}
        for first in range(0, QUERIES, AT_ONCE):
            some = [query(number) for number in range(first, first + AT_ONCE)]
            vectors |= {query_key(q): vector for q, vector in zip(some, embedder.embed(some), strict=True)}
        with stores(Path(directory)) as found:
            for name, store_of in found.items():
                measured[name] = with_store(path, store_of, vectors, embedder.version)
    write("sql/memory", measured)


if __name__ == "__main__":
    main()
