"""What becomes of served plans when things change: constants, templates, server, statistics, indexes, names, sizes.

A shop is explored; what was verified is served through `trellis.sql.connect`. Then one change after another is made, and after
each one the same four looks are taken: as it is *unnoticed*, until serving looks at the schema, sizes and statistics (every
30 s by default); once it is *noticed*, and plans that rest on what is no longer there are withdrawn; once every plan that was
ever served has been *verified again*; and after one *exploration* bounded by three times the workload's default time.

In each look every served query runs in five pairs, served and by default, the order by turns, and results are compared. A
query counts as a regression where the median of the pairs is beyond 1.05 and beyond it again in five more: one median of five
is beyond it by chance now and then. What is not served runs untouched and counts with its default time. Client times; without
parallel workers and JIT compilation.

    python benchmarks/sql/change.py            # measure, write results/change.json and CHANGE.md
    python benchmarks/sql/change.py --report   # write CHANGE.md again from results/change.json
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import platform
import pwd
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

import trellis.sql
from trellis import build
from trellis.contracts import DatabaseBackend
from trellis.exploring.config import ExploreConfig
from trellis.exploring.explorer import Explorer
from trellis.exploring.verifying import verify
from trellis.exploring.workload import explore_workload
from trellis.measuring.config import MeasureConfig
from trellis.memory.drift import note_catalog
from trellis.memory.journal import Journal
from trellis.memory.memory import Memory
from trellis.types import Problem
from trellis_postgres.setup import setup_role
from trellis_workload.config import GeneratorConfig
from trellis_workload.database import load
from trellis_workload.generator import Workload, generate
from trellis_workload.shop import num_rows

HERE = Path(__file__).parent
RESULT = HERE / "results" / "change.json"
REPORT = HERE / "CHANGE.md"
KNOWN = (
    "hub_facts",
    "star_product",
    "snowflake_item",
    "snowflake_review",
    "chain_catalogue",
    "many_follows",
    "wide_eleven",
    "control",
)
NEW = ("hub_dimensions", "chain_tags", "cycle_follows")
PROPOSERS = ("neighbours", "arms", "moves", "random-orders")
PAIRS = 5
BEYOND = 1.05
TIMEOUT_MS = 20_000.0
SETTINGS = "-c jit=off -c max_parallel_workers_per_gather=0"
OLDER = Path("/usr/lib/postgresql/15/bin")
LOOKS = ("unnoticed", "noticed", "verified again", "explored")
GROWTH = 3
_KEYS = {
    "customer_id": "customer",
    "product_id": "product",
    "order_id": "orders",
    "follower_id": "customer",
    "followed_id": "customer",
}


class Site:
    """A server with the shop, an application's two connections to it, and who explores it.

    Args:
        backend: Where plans are explored and verified.
        admin: An administrator's DSN: the application's too.
        path: The journal.
    """

    def __init__(self, backend: DatabaseBackend, admin: str, path: Path) -> None:
        self.backend = backend
        self.admin = psycopg.connect(admin, autocommit=True)
        self.journal = Journal(path)
        dsn = make_conninfo(admin, options=SETTINGS)
        self.plain = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        self.plain.execute(f"SET statement_timeout = {TIMEOUT_MS:.0f}")
        rules = {"default_share": 0, "drift_s": 3600}
        self.served = trellis.sql.connect(dsn, memory=path, serving=rules, autocommit=True, prepare_threshold=None)
        self.store = build("sqlite")
        self.embedder = build("sql-features", database=backend)
        self.default_ms: dict[str, float] = {}

    def close(self) -> None:
        for each in (self.served, self.plain, self.admin, self.journal, self.store):
            each.close()

    def sees(self, sql: str) -> bool:
        """Whether an application's query is served now."""
        return self.served.serving.look_up(sql.encode(), ()) is not None  # type: ignore[attr-defined]

    def notice(self, *, schema: bool) -> None:
        self.served.serving.synchronise(schema=schema)  # type: ignore[attr-defined]

    def holding(self) -> set[str]:
        """Return the keys of what is served."""
        found = self.journal.served(self.backend.identity)
        return {key for key, decision in found.items() if decision.action == "serve"}

    def measure_defaults(self, queries: Mapping[str, str]) -> None:
        for name, sql in queries.items():
            self.default_ms[name] = statistics.median([_run(self.plain, sql)[0] for _ in range(4)][1:])

    def look(self, queries: Mapping[str, str]) -> dict[str, Any]:
        """Run what is served in pairs, and return totals, regressions and different results."""
        default_ms = served_ms = 0.0
        served = suspected = regressions = different = 0
        worst = 1.0
        for name, sql in queries.items():
            if not self.sees(sql):
                default_ms += self.default_ms[name]
                served_ms += self.default_ms[name]
                continue
            served += 1
            pairs, same = self._pairs(sql)
            ratio = statistics.median(own / default for default, own in pairs)
            if ratio > BEYOND:
                suspected += 1
                more, same_again = self._pairs(sql)
                same = same and same_again
                again = statistics.median(own / default for default, own in more)
                regressions += again > BEYOND
                ratio = min(ratio, again)
            worst = max(worst, ratio)
            different += not same
            default_ms += statistics.median(default for default, _ in pairs)
            served_ms += statistics.median(own for _, own in pairs)
        return {
            "served": served,
            "default_ms": default_ms,
            "served_ms": served_ms,
            "suspected": suspected,
            "regressions": regressions,
            "worst": worst,
            "different": different,
        }

    def look_at_untouched(self, queries: Mapping[str, str]) -> dict[str, int]:
        """Run what is not served in pairs on both connections: how often equals are taken for a regression."""
        rest = [sql for sql in queries.values() if not self.sees(sql)]
        suspected = [sql for sql in rest if self._ratio(sql) > BEYOND]
        return {
            "queries": len(rest),
            "suspected": len(suspected),
            "regressions": sum(self._ratio(sql) > BEYOND for sql in suspected),
        }

    def _ratio(self, sql: str) -> float:
        return statistics.median(own / default for default, own in self._pairs(sql)[0])

    def _pairs(self, sql: str) -> tuple[list[tuple[float, float]], bool]:
        pairs, same = [], True
        _run(self.plain, sql), _run(self.served, sql)
        for turn in range(PAIRS):
            runs = {
                connection: _run(connection, sql) for connection in (self.plain, self.served)[:: 1 - 2 * (turn % 2)]
            }
            pairs.append((runs[self.plain][0], runs[self.served][0]))
            same = same and runs[self.plain][1] == runs[self.served][1]
        return pairs, same

    def verify_again(self, source: str | None = None) -> int:
        """Measure all that is or was served, as `trellis sql verify --withdrawn` does, and return how many there were."""
        self.backend.refresh()
        note_catalog(self.journal, self.backend.catalog())
        config = MeasureConfig(pairs=PAIRS, min_pairs=3, timeout_ms=TIMEOUT_MS, floor_ms=5.0)
        count = 0
        for key, decision in self.journal.served(source or self.backend.identity).items():
            entry = self.journal.query(key)
            if decision.action != "keep default" and entry is not None:
                verify(self.journal, self.backend, entry, decision.hints, config=config)
                count += 1
        self.notice(schema=True)
        return count

    def explore(self, queries: Mapping[str, str], *, iterations: int, share: float, seed: int) -> dict[str, float]:
        self.backend.refresh()
        memory = Memory(
            self.journal,
            database=self.backend.identity,
            store=self.store,
            embedder=self.embedder,
            parse=self.backend.parse,
        )
        proposer = build("portfolio", proposers={name: build(name) for name in PROPOSERS})
        config = ExploreConfig(share=share, seed=seed, default_timeout_ms=TIMEOUT_MS)
        explorer = Explorer(self.backend, memory=memory, proposer=proposer, config=config)
        problems = [Problem(name, sql) for name, sql in queries.items()]
        for _ in explore_workload(explorer, problems, iterations=iterations, patience=2):
            pass
        self.notice(schema=True)
        return {"executions": explorer.spent.executions, "seconds": explorer.spent.seconds}


def _run(connection: psycopg.Connection[Any], sql: str) -> tuple[float, Any]:
    started = time.perf_counter()
    rows = connection.execute(sql.encode()).fetchall()
    return 1000 * (time.perf_counter() - started), rows


def change(
    site: Site,
    name: str,
    make: Callable[[], object],
    queries: Mapping[str, str],
    *,
    seed: int,
    source: str | None = None,
) -> dict[str, Any]:
    """Make a change, take the four looks, and return them with what became of the plans that were served."""
    before = site.holding() if source is None else set()
    make()
    site.measure_defaults(queries)
    looks = {"unnoticed": site.look(queries)}
    site.notice(schema=True)
    after = site.holding()
    gone = before - after
    newest = {d.key: d for d in site.journal.decisions(database=site.backend.identity) if d.key in gone}
    reasons = sorted({d.reason.split(":")[0] for d in newest.values()})
    looks["noticed"] = site.look(queries)
    started = time.perf_counter()
    num_verified = site.verify_again(source)
    verifying_s = time.perf_counter() - started
    again = site.holding()
    looks["verified again"] = site.look(queries)
    spent = site.explore(queries, iterations=1, share=3.0, seed=seed)
    looks["explored"] = site.look(queries)
    found = {
        "change": name,
        "queries": len(queries),
        "served_before": len(before),
        "withdrawn": len(gone),
        "kept": len(before & after),
        "verified": num_verified,
        "verified_and_served": len(again),
        "verifying_s": verifying_s,
        "exploring": spent,
        "reasons": reasons,
        "looks": looks,
        "untouched": site.look_at_untouched(queries),
    }
    print(json.dumps(found, indent=1), flush=True)
    return found


@contextmanager
def older_server(workload: Workload) -> Iterator[tuple[DatabaseBackend, str]]:
    """Yield a backend on an older PostgreSQL with the same shop, and its administrator's DSN."""
    with tempfile.TemporaryDirectory(prefix="change-older-") as folder:
        user = None
        if getpass.getuser() == "root":
            user = next(
                name for name in ("postgres", "pgserver", "nobody") if name in {e.pw_name for e in pwd.getpwall()}
            )
            shutil.chown(folder, user)

        def tool(*words: object) -> None:
            subprocess.run(
                [OLDER / str(words[0]), *map(str, words[1:])], check=True, user=user, cwd=folder, capture_output=True
            )

        data = Path(folder) / "data"
        tool("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync")
        tool("pg_ctl", "-D", data, "-l", f"{folder}/log", "-w", "-o", f"-h '' -k {folder} -F", "start")
        try:
            admin = f"host={folder} user=postgres dbname=postgres"
            setup_role(admin, login=True, restrict_public=True)
            load(admin, workload)
            setup_role(admin, schemas=["public"], login=True, restrict_public=True)
            backend = build("postgres", {"dsn": f"host={folder} user=trellis_reader dbname=postgres"})
            yield backend, admin
            backend.close()
        finally:
            tool("pg_ctl", "-D", data, "-m", "immediate", "stop")


def grow(site: Site, scale: float) -> None:
    """Make the shop three times as large: two more of all customers, products and what hangs on them, each set for itself."""
    rows = num_rows(scale)
    twice = num_rows(2 * scale)
    for table in (name for name in rows if rows[name] != twice[name]):
        names = [name for (name,) in site.admin.execute(
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position", (table,)
        )]  # fmt: skip
        values = ", ".join(
            f"{name} + k * {rows[table if name == 'id' else _KEYS[name]]}" if name == "id" or name in _KEYS else name
            for name in names
        )
        site.admin.execute(
            f"INSERT INTO {table} SELECT {values} FROM {table}, generate_series(1, {GROWTH - 1}) k".encode()
        )
    site.admin.execute("VACUUM ANALYZE")


def analyze(site: Site, target: int) -> None:
    site.admin.execute(f"SET default_statistics_target = {target}".encode())
    site.admin.execute("ANALYZE")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    seed, scale, count = arguments.seed, arguments.scale, arguments.queries
    known = generate(GeneratorConfig(seed=seed, scale=scale, num_queries=2 * count * len(KNOWN), templates=KNOWN))
    new = generate(GeneratorConfig(seed=seed, scale=scale, num_queries=count * len(NEW), templates=NEW))
    base = {q.id: q.sql for q in known.queries if int(q.id.rpartition("-")[2]) < count}
    constants = {q.id: q.sql for q in known.queries if q.id not in base}
    templates = {q.id: q.sql for q in new.queries}
    with tempfile.TemporaryDirectory(prefix="change-") as folder:
        path = Path(folder) / "plans.db"
        backend = build("postgres", {"directory": f"{folder}/pg"})
        admin = backend.admin_dsn()
        with psycopg.connect(admin, autocommit=True) as connection:
            # Statistics change when this script says so.
            for setting in ("fsync = off", "autovacuum = off"):
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
        load(admin, known)
        site = Site(backend, admin, path)
        try:
            site.measure_defaults(base)
            spent = site.explore(base, iterations=3, share=10.0, seed=1)
            start = {"queries": len(base), "exploring": spent, "look": site.look(base)}
            print(json.dumps(start, indent=1), flush=True)
            steps = []
            if OLDER.exists():
                with older_server(known) as (older, older_admin):
                    there = Site(older, older_admin, path)
                    steps.append(
                        change(there, "another server version", lambda: None, base, seed=2, source=backend.identity)
                    )
                    steps[-1]["from_version"], steps[-1]["to_version"] = backend.server_version, older.server_version
                    there.close()
            now = base | constants
            steps.append(change(site, "new constants", lambda: None, now, seed=3))
            now |= templates
            steps.append(change(site, "new templates", lambda: None, now, seed=4))
            steps.append(change(site, "statistics: target 1", lambda: analyze(site, 1), now, seed=5))
            steps.append(change(site, "statistics: target 1000", lambda: analyze(site, 1000), now, seed=6))
            drop = "DROP INDEX review_customer_id"
            steps.append(change(site, "a dropped index", lambda: site.admin.execute(drop), now, seed=7))
            rename = "ALTER TABLE customer RENAME COLUMN channel TO sales_channel"
            now = {name: sql.replace("c.channel", "c.sales_channel") for name, sql in now.items()}
            steps.append(change(site, "a renamed column", lambda: site.admin.execute(rename), now, seed=8))
            steps.append(change(site, "three times the data", lambda: grow(site, scale), now, seed=9))
            version = backend.server_version
        finally:
            site.close()
            backend.close()
    return {
        "command": f"python benchmarks/sql/change.py --seed {seed} --scale {scale:g} --queries {count}",
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "postgresql": f"{version // 10_000}.{version % 10_000}",
        },
        "seed": seed,
        "scale": scale,
        "start": start,
        "changes": steps,
    }


def report(result: dict[str, Any]) -> str:
    """Return CHANGE.md."""
    start, changes, at = result["start"], result["changes"], result["machine"]
    early = [step["looks"]["unnoticed"] for step in changes]
    late = [step["looks"][name] for step in changes for name in LOOKS[1:]]
    alike = {key: sum(step["untouched"][key] for step in changes) for key in ("queries", "suspected", "regressions")}
    first = start["look"]

    def sum_of(looks: Sequence[Mapping[str, Any]], key: str) -> int:
        return sum(look[key] for look in looks)

    def share(look: Mapping[str, Any]) -> str:
        return f"{look['served_ms'] / look['default_ms']:.2f} ({look['served']})"

    def worst(look: Mapping[str, Any]) -> str:
        return f"{look['worst']:.2f}, {look['regressions']} of {look['suspected']}"

    def parts(reasons: Sequence[str]) -> str:
        found = list(dict.fromkeys(part for reason in reasons for part in reason.split("; ")))
        return "; ".join(found[:3]) + (f"; and {len(found) - 3} more of the kind" if len(found) > 3 else "")

    fates = "\n".join(
        f"| {s['change']} | {s['queries']} | {s['served_before']} | {s['withdrawn']} | {s['kept']} | {s['verified']} "
        f"| {s['verified_and_served']} | {s['looks']['explored']['served']} |"
        for s in changes
    )
    reasons = "\n".join(f"- {s['change']}: {parts(s['reasons'])}" for s in changes if s["reasons"])
    curve = "\n".join(
        f"| {s['change']} | {s['looks']['explored']['default_ms'] / 1000:.2f} s "
        f"| {' | '.join(share(s['looks'][name]) for name in LOOKS)} "
        f"| {s['verifying_s']:.0f} s | {s['exploring']['seconds']:.1f} s |"
        for s in changes
    )
    slowest = "\n".join(f"| {s['change']} | {' | '.join(worst(s['looks'][name]) for name in LOOKS)} |" for s in changes)
    protocol = "\n\n".join((__doc__ or "").split("\n\n")[1:3])
    return f"""# When things change

`{result["command"]}` on {at["cpus"]} cores, PostgreSQL {at["postgresql"]};
shop of seed {result["seed"]}, scale {result["scale"]}.

{protocol}

At the start {start["queries"]} queries were explored for {start["exploring"]["seconds"]:.0f} s of executions;
{first["served"]} are served, and the workload takes {first["served_ms"] / first["default_ms"]:.2f} of its default time. Of what
was served after that:

- **{sum_of(early + late, "different")} different results**;
- **{sum_of(late, "regressions")} regressions beyond 5%** in {sum_of(late, "served")} looks at a served query once a change
  was noticed;
- {sum_of(early, "regressions")} in {sum_of(early, "served")} before it was noticed;
- for comparison, {alike["regressions"]} in {alike["queries"]} looks at a query that is not served: it runs alike on both
  connections, so this is noise ({alike["suspected"]} were suspected after five pairs).

## Plans

Served before the change; withdrawn when it was noticed; kept; measured again, with what was withdrawn earlier; served after
that; queries of the workload that are served after exploring.

| change | queries | served before | withdrawn | kept | verified again | then served | explored, served |
|---|---|---|---|---|---|---|---|
{fates}

Why plans were withdrawn:

{reasons}

## Time

The workload's time as it is served, relative to its default time in the same look; in brackets how many of its queries are
served. Then how long verifying took in all, and the seconds of executions that exploring took.

| change | default | {" | ".join(LOOKS)} | verifying | exploring |
|---|---|---|---|---|---|---|---|
{curve}

## The slowest

The largest median of served over default time, and how many regressions were counted of those suspected.

| change | {" | ".join(LOOKS)} |
|---|---|---|---|---|
{slowest}
"""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--report", action="store_true", help="only write CHANGE.md again")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--scale", type=float, default=0.3)
    parser.add_argument("--queries", type=int, default=2, help="of each template, and as many with other constants")
    arguments = parser.parse_args(words)
    if not arguments.report:
        RESULT.write_text(json.dumps(measure(arguments), indent=1) + "\n", encoding="utf-8")
    REPORT.write_text(report(json.loads(RESULT.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
