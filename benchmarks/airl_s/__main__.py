"""AIRL-S measured: eight tasks, several seeds, policies, rewards and searches.

    python benchmarks/airl_s                                 everything that is missing, in two processes (hours)
    python benchmarks/airl_s --quick                         all of it at toy sizes (minutes), into a folder of its own
    python benchmarks/airl_s --parts search --tasks path --seeds 0 1
    python benchmarks/airl_s --report                        RESULTS.md, from results/*.json

It can be stopped at any time: what is finished is kept and not done again. What was trained lies in runs/airl_s, what
was measured in benchmarks/airl_s/results.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main() -> None:
    from parts import PARTS
    from report import write_report
    from runner import Job, run
    from suite import FULL, QUICK, REGIMES, TASKS

    parser = argparse.ArgumentParser(prog="python benchmarks/airl_s", description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS | REGIMES, default=list(TASKS | REGIMES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="toy sizes: to see that everything runs")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="validation: while tuning")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md")
    given = parser.parse_args()

    kind = ("quick" if given.quick else "full") + ("-validation" if given.split == "validation" else "")
    results = HERE / "results" if kind == "full" else ROOT / "runs" / "airl_s" / kind / "results"
    if not given.report:
        sizes = QUICK if given.quick else FULL
        root = ROOT / "runs" / "airl_s" / kind
        jobs = [
            Job(part, task, seed, sizes, root, results, given.split)
            for part in given.parts
            for seed in given.seeds
            for task in given.tasks
            if (task in REGIMES) == (part == "regimes")
        ]
        run(jobs, processes=given.processes)
    print(f"written: {write_report(results, results.parent / 'RESULTS.md')}")


if __name__ == "__main__":
    main()
