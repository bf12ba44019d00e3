"""How long a memory of 100,000 measurements takes: opening it, what is served, remembering, and a neighbour query per store.

The journal holds 10,000 queries of fifty templates, ten measurements and a decision each, and the memory finds eight neighbours
among them by `sql-features` and the store `sqlite`. The stores alone hold 100,000 vectors of 256 numbers around fifty centres.
Stores can be named on the command line; without names all are measured.
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

import numpy as np
from measure import RESULTS, spread, write

from trellis import build
from trellis.contracts import Embedder, Record, RetrievalStore
from trellis.memory.journal import DecisionEntry, Journal, MeasurementEntry, query_key
from trellis.memory.memory import Memory
from trellis.sql.query import Query
from trellis.sql.reader import parse_query

RUNS = 30
RECORDS = 100_000
QUERIES = RECORDS // 10
TEMPLATES = 50
K = 8
DIMENSION = 256
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
                for _ in range(10):
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
                        "",
                        "",
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


def with_neighbours(path: Path, vectors: Path) -> dict[str, object]:
    """Measure a memory of the journal at `path` with a store of its own."""
    embedder: Embedder = build("sql-features")

    def restart() -> Memory:
        store = build("sqlite", {"path": str(vectors)})
        return Memory(Journal(path), database=DATABASE, store=store, embedder=embedder)

    def end(memory: Memory) -> None:
        assert memory.store is not None
        memory.journal.close()
        memory.store.close()

    rebuilt = milliseconds(lambda: end(restart()))
    opened = [milliseconds(lambda: end(restart())) for _ in range(RUNS)]
    memory = restart()
    asked = [query(QUERIES + number) for number in range(RUNS)]
    memory.neighbours(query(QUERIES + RUNS), K)
    steps = {name: [milliseconds(lambda: memory.neighbours(q, K)) for q in asked] for name in ("cold", "warm")}  # noqa: B023
    end(memory)
    return {
        "store filled": rebuilt,
        "restart": spread(opened),
        "neighbours, queries not read before": spread(steps["cold"]),
        "neighbours, queries read before": spread(steps["warm"]),
    }


def store_alone(store_of: Callable[[], RetrievalStore]) -> dict[str, object]:
    draw = np.random.default_rng(1)
    centres_TD = draw.standard_normal((TEMPLATES, DIMENSION))
    rows_ND = centres_TD[draw.integers(TEMPLATES, size=RECORDS + RUNS)] + 0.3 * draw.standard_normal(
        (RECORDS + RUNS, DIMENSION)
    )
    store = store_of()

    def add() -> None:
        for first in range(0, RECORDS, AT_ONCE):
            rows = rows_ND[first : first + AT_ONCE].tolist()
            store.add(
                [
                    Record(f"q{first + i}", tuple(row), {"embedder": "v1", "place": (first + i) % (RECORDS // 10)})
                    for i, row in enumerate(rows)
                ]
            )

    filled = milliseconds(add)
    store.close()
    store = store_of()
    asked = rows_ND[RECORDS:].tolist()
    first = milliseconds(lambda: store.query(asked[0], K))
    conditions = {"query": None, "query, ten records fit": {"place": 7}, "query, all records fit": {"embedder": "v1"}}
    taken = {
        name: spread([milliseconds(lambda: store.query(vector, K, where)) for vector in asked])  # noqa: B023
        for name, where in conditions.items()
    }
    store.close()
    return {"fill": filled, "first query after opening": first, **taken}


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
        measured["memory"] = with_neighbours(path, Path(directory) / "neighbours.db")
        with stores(Path(directory)) as found:
            for name, store_of in found.items():
                measured[name] = store_alone(store_of)
    write("sql/memory", measured)
    (RESULTS / "sql" / "memory.json").replace(Path(__file__).parent / "results" / "memory.json")


if __name__ == "__main__":
    main()
