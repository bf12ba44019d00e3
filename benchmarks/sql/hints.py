"""Random valid hints on real queries: is the result always the same, and does the plan follow the join tree asked for?

    python benchmarks/sql/hints.py --data FOLDER [FOLDER …]     # measure, write results/hints-NAME.json and HINTS.md
    python benchmarks/sql/hints.py --report                     # write HINTS.md again

A folder holds `schema.sql`, `csv/TABLE.csv.gz` and `queries.sql`. Every query runs once under its default plan and once under
each of so many random hints (a legal join tree, a method per join, a scan per table), each for at most --timeout-ms.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from data import load_folder

from trellis import build
from trellis.errors import SQLError
from trellis.sql.compare import compare
from trellis.sql.files import read_queries
from trellis.sql.hints import Leading
from trellis.sql.random_hints import random_hints

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
REPORT = HERE / "HINTS.md"


def measure(folder: Path, *, num_hints: int, timeout_ms: float, dialect: str, seed: int) -> dict[str, Any]:
    """Run a folder's queries under random hints, and return what came of it."""
    found: Counter[str] = Counter()
    exceptions: list[dict[str, str]] = []
    kinds: dict[str, Counter[str]] = {}

    def note(query: str, hints: str, what: str, why: str) -> None:
        exceptions.append({"query": query, "hints": hints, "what": what, "why": why})

    with closing(build("postgres", {"dialect": dialect, "settings": {"jit": "off"}})) as backend:
        rows = load_folder(backend.admin_dsn(), folder)
        backend.refresh()
        fingerprints = set()
        for named in read_queries([folder / "queries.sql"]):
            query = backend.parse(named.sql)
            found["queries"] += 1
            fingerprints.add(query.fingerprint)
            default = backend.execute(query, timeout_ms=timeout_ms)
            if default.timed_out:
                note(named.name, "", "default timed out", f"{timeout_ms:.0f} ms")
                continue
            for number in range(num_hints):
                hints = random_hints(query, Random(f"{seed}/{named.name}/{number}"), catalog=backend.catalog())
                found["hints"] += 1
                try:
                    for verdict in compare(hints, backend.explain(query, hints), query):
                        kind = type(verdict.hint).__name__
                        kinds.setdefault(kind, Counter())[verdict.status] += 1
                        if isinstance(verdict.hint, Leading):
                            found["trees"] += 1
                            found["trees followed"] += verdict.same_tree
                            if not verdict.same_tree:
                                note(named.name, str(hints), "another tree", verdict.reason)
                    execution = backend.execute(query, hints, timeout_ms=timeout_ms)
                except SQLError as error:
                    note(named.name, str(hints), type(error).__name__, str(error))
                    continue
                found["timed out"] += execution.timed_out
                if not execution.timed_out:
                    found["ran"] += 1
                    found["same result"] += execution.digest == default.digest
                    if execution.digest != default.digest:
                        note(named.name, str(hints), "another result", f"{execution.num_rows} rows")
            print(f"{named.name}: {dict(found)}", flush=True)
        version = backend.server_version
        used = backend.hint_dialect.name
    return {
        "name": folder.name,
        "rows": rows,
        "server_version": version,
        "dialect": used,
        "hints_per_query": num_hints,
        "timeout_ms": timeout_ms,
        "seed": seed,
        "fingerprints": len(fingerprints),
        **found,
        "kinds": {kind: dict(counts) for kind, counts in kinds.items()},
        "exceptions": exceptions,
    }


def write_report() -> None:
    """Write HINTS.md from the results."""
    lines = [
        "# Random valid hints on real queries\n",
        (
            "Written by `python benchmarks/sql/hints.py --report` from `results/hints-*.json`; measured by "
            "`python benchmarks/sql/hints.py --data FOLDER`. Data: STATS-CEB's tables and one small StackExchange site.\n"
        ),
        "| data | server | dialect | queries | fingerprints | hints | ran | same result | timed out | trees | followed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("hints-*.json"))]
    for r in results:
        same = f"{r['same result']} ({100 * r['same result'] / r['ran']:.2f}%)"
        trees = f"{r['trees followed']} ({100 * r['trees followed'] / r['trees']:.2f}%)"
        lines.append(
            f"| {r['name']} | {r['server_version'] // 10000} | {r['dialect']} | {r['queries']} | {r['fingerprints']} | "
            f"{r['hints']} | {r['ran']} | {same} | {r.get('timed out', 0)} | {r['trees']} | {trees} |"
        )
    for r in results:
        lines.append(f"\n## {r['name']}, {r['dialect']}\n")
        lines += ["| hints | honoured | partly | ignored |", "|---|---|---|---|"]
        for kind, counts in sorted(r["kinds"].items()):
            lines.append(
                f"| {kind} | " + " | ".join(str(counts.get(s, 0)) for s in ("honoured", "partly", "ignored")) + " |"
            )
        lines.append("\nExceptions, by name:\n")
        lines += [f"- {e['query']}: {e['what']}: {e['why']} (`{e['hints']}`)" for e in r["exceptions"]] or ["- none"]
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, default=[])
    parser.add_argument("--hints", type=int, default=20)
    parser.add_argument("--timeout-ms", type=float, default=20_000)
    parser.add_argument("--dialect", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="only write HINTS.md")
    given = parser.parse_args()
    if not given.data and not given.report:
        parser.error("name at least one folder by --data, or --report")
    RESULTS.mkdir(exist_ok=True)
    for folder in given.data:
        found = measure(
            folder, num_hints=given.hints, timeout_ms=given.timeout_ms, dialect=given.dialect, seed=given.seed
        )
        path = RESULTS / f"hints-{folder.name}-{found['dialect']}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_report()


if __name__ == "__main__":
    main()
