"""Query optimizers that evolve, measured: all methods on the same plans, at equal executions and equal seconds.

    python benchmarks/sefrqo                                  what is missing: seeds 0, 1, 2 of the generated shop
    python benchmarks/sefrqo --quick                          all of it at toy sizes (minutes), into a folder of its own
    python benchmarks/sefrqo --seeds 0 --methods neighbours portfolio
    python benchmarks/sefrqo --parts ablation                 what the portfolio's parts and the prompt's references are worth
    python benchmarks/sefrqo --data DIR                       tables and queries of a folder in place of the shop
    python benchmarks/sefrqo --report                         RESULTS.md, from results/*.json

It starts its own PostgreSQL in runs/sefrqo, and can be stopped at any time: what was measured lies in a journal there, and
what is finished in benchmarks/sefrqo/results, and neither is done again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "sql")]
PARTS = ("methods", "oracle", "tuned", "ablation")


def main() -> None:
    from sefrqo.report import write_report
    from sefrqo.suite import FULL, METHODS, QUICK

    parser = argparse.ArgumentParser(prog="python benchmarks/sefrqo", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS[:3]))
    parser.add_argument("--data", type=Path, help="a folder with schema.sql, csv/*.csv.gz and queries.sql")
    parser.add_argument("--quick", action="store_true", help="toy sizes: to see that everything runs")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md")
    given = parser.parse_args()

    kind = "quick" if given.quick else "full"
    results = ROOT / "runs" / "sefrqo" / kind / "results" if given.quick else HERE / "results"
    if not given.report:
        for seed in given.seeds:
            run(
                seed,
                QUICK if given.quick else FULL,
                data=given.data,
                root=ROOT / "runs" / "sefrqo" / kind,
                results=results,
                methods=given.methods,
                parts=given.parts,
            )
    print(f"written: {write_report(results, results.parent / 'RESULTS.md')}")


def run(
    seed: int,
    sizes: Any,
    *,
    data: Path | None,
    root: Path,
    results: Path,
    methods: list[str],
    parts: list[str],
) -> None:
    """Measure what is missing of one workload, and keep each method's result as soon as it is there."""
    from sefrqo.cell import Cell
    from sefrqo.suite import ABLATIONS
    from sefrqo.tuned import tuned_part
    from sefrqo.workload import folder, shop

    name = f"shop-{seed}" if data is None else f"{data.resolve().name}-{seed}"
    path = results / f"{name}.json"
    done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = [method for method in methods if method not in done.get("methods", {})] if "methods" in parts else []
    others = [
        part
        for part in parts
        if part != "methods"
        and (
            part not in done or (part == "oracle" and missing) or (part == "ablation" and ABLATIONS.keys() - done[part])
        )
    ]
    if not missing and not others:
        print(f"{name}: all of it was there")
        return
    started = time.perf_counter()

    def keep(what: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(done, separators=(",", ":")) + "\n", encoding="utf-8")
        temporary.replace(path)
        print(f"[{time.perf_counter() - started:6.0f} s] {name}: {what}", flush=True)

    # Folders' tables are the same for all seeds.
    server = root / (name if data is None else data.resolve().name) / "postgres"
    workload = shop(seed, sizes, server) if data is None else folder(data, seed, server)
    with (
        closing(workload.database),
        closing(
            Cell(
                workload,
                database=workload.database,
                root=root / name,
                sizes=sizes,
                seed=seed,
                unusable=done.get("workload", {}).get("unusable"),
            )
        ) as cell,
    ):
        done["workload"] = cell.described()
        keep(f"{sum(len(problems) for problems in cell.sets.values())} queries, {len(cell.unusable)} left out")
        for method in missing:
            found = cell.measure(method)
            done.setdefault("methods", {})[method] = found
            keep(f"{method} took {found['took_s']:.0f} s; {cell.truth.executions} executions since the beginning")
        if "oracle" in others:
            done["oracle"] = cell.oracle()
            done["table"] = cell.truth.counts()
            keep("oracle")
        if "ablation" in others:
            for name_ in ABLATIONS:
                if name_ not in done.setdefault("ablation", {}):
                    found = done["ablation"][name_] = cell.measure(name_)
                    keep(f"{name_} took {found['took_s']:.0f} s")
        if "tuned" in others:
            done["tuned"] = tuned_part(cell, root=root / f"{name}-tuned")
            keep("tuned")


if __name__ == "__main__":
    main()
