"""The demo's pipeline over several seeds: which differences in its table are more than one run's luck.

python benchmarks/demo.py 7 8 9
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from measure import spread, write

from trellis import load_pipeline, run_pipeline

PIPELINE = Path(__file__).parents[1] / "pipelines" / "airl_s.yaml"


def main() -> None:
    seeds = [int(seed) for seed in sys.argv[1:]] or [7, 8, 9]
    accuracies: dict[str, list[float]] = defaultdict(list)
    tokens: dict[str, list[float]] = defaultdict(list)
    above_majority: dict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as out:
            rows = run_pipeline(load_pipeline(PIPELINE, seed=seed), out=Path(out) / "run").results.stages["test"].rows
        majority = {row.policy: row.accuracy for row in rows if row.search == "majority"}
        for row in rows:
            name = f"{row.policy} / {row.search} / {row.reward or '-'}"
            accuracies[name].append(row.accuracy)
            tokens[name].append(row.tokens_per_problem)
            above_majority[name].append(row.accuracy - majority[row.policy])
        print(f"seed {seed}:", {name: round(values[-1], 3) for name, values in accuracies.items()}, flush=True)
    measured = {
        name: {
            "accuracy": spread(values),
            "above majority": spread(above_majority[name]),
            "tokens per problem": spread(tokens[name]),
        }
        for name, values in accuracies.items()
    }
    write("demo", {"arguments": seeds, **measured})


if __name__ == "__main__":
    main()
