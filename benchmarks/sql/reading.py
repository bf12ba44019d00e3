"""How long reading a query of ten joins takes: parse and fingerprint, a join order written into it, and both from memory.

One query with commas, one with ON, USING-free and without outer joins, each with ten joins, eighteen filters and a `count(*)`.
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


def main() -> None:
    measured: dict[str, object] = {"unit": "ms"}
    for name, commas in (("commas", True), ("joins", False)):
        sql = query(commas=commas)
        first = parse_query(sql)
        tree = random_tree(first.blocks[0], random.Random(1))
        assert tree is not None
        hints = PlanHints(leading=(Leading(tree),))
        taken: dict[str, list[float]] = {step: [] for step in ("read", "whole", "cached")}
        for _ in range(RUNS):
            taken["read"].append(
                milliseconds(lambda: describe(read(sql, dialect="postgres", catalog=None), "postgres"))
            )
            taken["whole"].append(
                milliseconds(lambda: rewrite(describe(read(sql, dialect="postgres", catalog=None), "postgres"), hints))
            )
            rewrite(parse_query(sql), hints)
            taken["cached"].append(milliseconds(lambda: rewrite(parse_query(sql), hints)))
        measured |= {
            f"{name}: parse and fingerprint": spread(taken["read"]),
            f"{name}: parse, fingerprint, rewrite": spread(taken["whole"]),
            f"{name}: the same from memory": spread(taken["cached"]),
        }
    (RESULTS / "sql").mkdir(parents=True, exist_ok=True)
    write("sql/reading", measured)


if __name__ == "__main__":
    main()
