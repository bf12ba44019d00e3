"""How often the protocol calls a plan faster, or slower, that is the default itself.

    python benchmarks/sql/null_test.py

Queries of the generated shop are measured against themselves, many times each, with different numbers of pairs. Written to
results/null_test.json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from contextlib import closing
from pathlib import Path

from trellis import build
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import measure
from trellis.sql.hints import PlanHints, Switch

RESULT = Path(__file__).resolve().parent / "results" / "null_test.json"
NOTHING = PlanHints(switches=(Switch("enable_seqscan", True),))
"""Asks for what is so anyway."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--scale", type=float, default=0.2)
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with closing(build("postgres", {})) as database:
        task = build("shop", {"scale": given.scale, "num_queries": 200}, database=database)
        problems = task.problems("validation")[: given.queries]
        for pairs in (1, 3, 5):
            judged: Counter[str] = Counter()
            above = 0
            for repeat in range(given.repeats):
                config = MeasureConfig(
                    pairs=pairs, min_pairs=pairs, factor=50, skip_same_plan=False, seed=repeat, floor_ms=1000
                )
                for problem in problems:
                    variant = measure(database, database.parse(problem.text), {"null": NOTHING}, config).variants[
                        "null"
                    ]
                    judged[variant.judgement] += 1
                    above += variant.speedup is not None and variant.speedup.value >= 1.1
            total = sum(judged.values())
            found[str(pairs)] = {
                "measurements": total,
                "called faster": judged["faster"] / total,
                "called slower": judged["slower"] / total,
                "median ratio 1.1 or more": above / total,
            }
            print(pairs, found[str(pairs)], flush=True)
    RESULT.write_text(json.dumps({"command": "python benchmarks/sql/null_test.py", "pairs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
