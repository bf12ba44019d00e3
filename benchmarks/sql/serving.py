"""What a serving connection adds to a statement: against a plain psycopg connection, interleaved, medians and quartiles.

    python benchmarks/sql/serving.py [--executions 2000] [--out benchmarks/sql/results/serving.json]

On the embedded PostgreSQL over its socket. "Look-up" is the client's own part, without any server: what recognising costs when
the answer is already known. "Added" is the median difference of a round in which both connections run the same statement.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from change import Site

import trellis.sql
from trellis import build
from trellis.memory.journal import DecisionEntry, Journal, MeasurementEntry
from trellis_workload.config import GeneratorConfig
from trellis_workload.database import load
from trellis_workload.generator import generate

JOIN = "SELECT a.x, count(*) FROM a, b WHERE a.id = b.a AND a.x < {} GROUP BY a.x"
HINTS = "HashJoin(a b) Leading((b a))"
SHARE = 5.0


def quartiles(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 5), "q25": round(low, 5), "q75": round(high, 5)}


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def added(plain: Any, served: Any, statements: Callable[[int], tuple[str, Any]], executions: int) -> dict[str, Any]:
    """Run statements on both connections in turn, the order drawn by parity."""
    times: dict[str, list[float]] = {"plain": [], "serving": []}
    for n in range(executions):
        sql, values = statements(n)
        order = [("plain", plain), ("serving", served)][:: 1 if n % 2 else -1]
        for name, connection in order:
            times[name].append(timed(partial(_run, connection, sql, values)))
    difference = [b - a for a, b in zip(times["plain"], times["serving"], strict=True)]
    return {name: quartiles(found) for name, found in times.items()} | {"added": quartiles(difference)}


def _run(connection: Any, sql: str, values: Any) -> None:
    connection.execute(sql, values).fetchall()


def cold(*, scale: float, num_queries: int, rounds: int) -> dict[str, Any]:
    """Serve from an empty memory while exploring, and return what each round came to."""
    workload = generate(GeneratorConfig(seed=2027, scale=scale, num_queries=num_queries))
    queries = {q.id: q.sql for q in workload.queries}
    with tempfile.TemporaryDirectory() as folder:
        backend = build("postgres", {"directory": f"{folder}/pg"})
        admin = backend.admin_dsn()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        load(admin, workload)
        site = Site(backend, admin, Path(folder) / "plans.db")
        found = []
        for number in range(rounds + 1):
            if number:
                site.explore(queries, iterations=1, share=SHARE, seed=number)
            site.measure_defaults(queries)
            found.append({**site.look(queries), "untouched": site.look_at_untouched(queries)})
            print(json.dumps(found[-1]), flush=True)
        site.close()
        version = backend.server_version
        backend.close()
    return {"queries": len(queries), "scale": scale, "server_version": version, "rounds": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=2000)
    parser.add_argument("--cold", action="store_true", help="only serving while exploring, from an empty memory")
    parser.add_argument("--scale", type=float, default=0.3)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serving.json")
    args = parser.parse_args()
    known = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    if args.cold:
        known["cold_start"] = cold(scale=args.scale, num_queries=args.queries, rounds=args.rounds)
        args.out.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        backend = build("postgres", {"directory": f"{folder}/pg"})
        dsn = backend.admin_dsn()
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET fsync = off")
            admin.execute("SELECT pg_reload_conf()")
            admin.execute("CREATE TABLE a AS SELECT i AS id, i % 10 AS x FROM generate_series(1, 200) i")
            admin.execute("CREATE TABLE b AS SELECT i AS id, i % 200 AS a FROM generate_series(1, 500) i")
            admin.execute("CREATE TABLE t (i int)")
            admin.execute("ANALYZE")
        path = Path(folder) / "memory.db"
        journal = Journal(path)
        served_sql = JOIN.format(5)
        key = journal.add_query(backend.parse(served_sql))
        m = MeasurementEntry(
            key, backend.identity, HINTS, "faster", 2.0, 1.8, 2.2, 1e6, 1.0, 5, "digest", "benchmark",
            backend.catalog().version, backend.server_version,
        )  # fmt: skip
        number = journal.add_measurement(m)
        journal.decide(DecisionEntry(key, backend.identity, "serve", HINTS, "benchmark", number))
        plain = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        served = trellis.sql.connect(
            dsn, memory=path, serving={"default_share": 0}, autocommit=True, prepare_threshold=None
        )
        in_transaction = trellis.sql.connect(dsn, memory=path, serving={"default_share": 0}, prepare_threshold=None)
        plain_in_transaction = psycopg.connect(dsn, prepare_threshold=None)
        look_up = served.serving.look_up  # type: ignore[attr-defined]
        for text in (served_sql, JOIN.format(6)):
            look_up(text.encode(), ())
        look_up(JOIN.format("$1").encode(), (5,))
        rounds = args.executions
        report = {
            "look_up_ms": {
                "served": quartiles([timed(lambda: look_up(served_sql.encode(), ())) for _ in range(rounds)]),
                "served, one parameter": quartiles(
                    [timed(lambda: look_up(JOIN.format("$1").encode(), (5,))) for _ in range(rounds)]
                ),
                "known not to be served": quartiles(
                    [timed(lambda: look_up(JOIN.format(6).encode(), ())) for _ in range(rounds)]
                ),
                "seen for the first time, template of something served": quartiles(
                    [timed(lambda n=n: look_up(JOIN.format(1000 + n).encode(), ())) for n in range(rounds)]  # type: ignore[misc]
                ),
                "seen for the first time, other template": quartiles(
                    [
                        timed(lambda n=n: look_up(f"SELECT 1 FROM b WHERE id = {n}".encode(), ()))  # type: ignore[misc]
                        for n in range(rounds)
                    ]
                ),
                "no SELECT": quartiles(
                    [timed(lambda n=n: look_up(f"INSERT INTO t VALUES ({n})".encode(), ())) for n in range(rounds)]  # type: ignore[misc]
                ),
            },
            "statement_ms": {
                "cached hit, autocommit": added(plain, served, lambda n: (served_sql, None), rounds),
                "cached hit, in a transaction": added(
                    plain_in_transaction, in_transaction, lambda n: (served_sql, None), rounds
                ),
                "unknown": added(plain, served, lambda n: (JOIN.format(6), None), rounds),
                "no SELECT": added(plain, served, lambda n: ("INSERT INTO t VALUES (%s) RETURNING i", (1,)), rounds),
            },
            "executions": rounds,
            "server_version": backend.server_version,
            "psycopg": psycopg.__version__,
            "counts": served.serving.counts(),  # type: ignore[attr-defined]
        }
        for connection in (plain, served, in_transaction, plain_in_transaction):
            connection.close()
        journal.close()
        backend.close()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**known, **report}, indent=2) + "\n", encoding="utf-8")
    for part in ("look_up_ms", "statement_ms"):
        for name, row in report[part].items():
            shown = row.get("added", row)
            print(f"{part:13} {name:55} {shown['median']:.4f} ({shown['q25']:.4f} to {shown['q75']:.4f})")


if __name__ == "__main__":
    main()
