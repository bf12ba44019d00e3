"""How long reading a query of ten joins takes: parse and fingerprint, a join order written into it, and both from memory.

One query with commas and one with JOIN … ON, each a chain of ten joins with eighteen filters.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import RESULTS, spread, write

from trellis.sql.hints import Leading, PlanHints
from trellis.sql.orders import random_tree
from trellis.sql.query import Query
from trellis.sql.reader import describe, parse_query, read
from trellis.sql.rewrite import rewrite

RUNS = 200
JOINS = 10


def query(*, commas: bool) -> str:
    """Write a chain of ten joins with two filters on most relations."""
    edges = [f"a{i}.id = a{i + 1}.fk" for i in range(JOINS)]
    filters = [f"a{i}.v > {i} AND a{i}.d <= '2014-09-12 00:00:00'::timestamp" for i in range(JOINS - 1)]
    if commas:
        items = ", ".join(f"t{i} AS a{i}" for i in range(JOINS + 1))
        return f"SELECT count(*) FROM {items} WHERE {' AND '.join(edges + filters)}"
    joins = " ".join(f"JOIN t{i + 1} AS a{i + 1} ON {edge}" for i, edge in enumerate(edges))
    return f"SELECT count(*) FROM t0 AS a0 {joins} WHERE {' AND '.join(filters)}"


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def cold(sql: str) -> Query:
    return describe(read(sql, dialect="postgres", catalog=None), "postgres")


def measured(sql: str) -> dict[str, dict[str, float]]:
    tree = random_tree(parse_query(sql).blocks[0], random.Random(1))
    assert tree is not None
    hints = PlanHints(leading=(Leading(tree),))
    steps: dict[str, Callable[[], object]] = {
        "parse and fingerprint": lambda: cold(sql),
        "parse, fingerprint, rewrite": lambda: rewrite(cold(sql), hints),
        "the same from memory": lambda: rewrite(parse_query(sql), hints),
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(RUNS):
        for name, work in steps.items():
            taken[name].append(milliseconds(work))
    return {name: spread(values) for name, values in taken.items()}


def main() -> None:
    (RESULTS / "sql").mkdir(parents=True, exist_ok=True)
    write("sql/reading", {"unit": "ms", "commas": measured(query(commas=True)), "joins": measured(query(commas=False))})


if __name__ == "__main__":
    main()
