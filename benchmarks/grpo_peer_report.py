"""The page about GRPO beside TRL's, written from the measurements that `grpo_peer.py` left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS

TRL = "1.16.0"
SIDES = ("trellis", "trl")
REPORT = Path(__file__).parent / "gpu.md"


def median(figures: dict[str, float], digits: int) -> str:
    """Write a median with its range."""
    middle, low, high = (f"{figures[name]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{middle} ({low}–{high})"


def table(results: Sequence[dict[str, Any]]) -> str:
    """Write what was measured as tables in Markdown."""
    rows = (
        ("steps/s", "steps_per_s", 3),
        ("steps per second of CPU time", "steps_per_cpu_s", 3),
        ("sampled tokens/s, while sampling", "sampled_tokens_per_s", 0),
        ("s of a step that are not sampling", "rest_of_step_s", 3),
        ("peak memory, MiB", "peak_mib", 0),
    )
    written = []
    for result in results:
        work = result["work"]
        what = (
            f"{work['layers']} layers of {work['hidden']}, a vocabulary of {result['vocabulary']:,}, {work['precision']}; "
            f"{work['prompts']} prompts x {work['generations']} generations x {work['max_tokens']} tokens a step; "
            f"{result['trellis']['steps_per_s']['runs']} rounds of {work['steps']} steps. `{result['command']}`"
        )
        lines = [
            f"### {result['parameters'] / 1e6:.1f}M parameters, {result['name']}",
            "",
            what,
            "",
            "| | Trellis | TRL | Trellis / TRL |",
            "|---|---|---|---|",
        ]
        for title, name, digits in rows:
            cells = [median(result[side][name], digits) for side in SIDES]
            lines.append(f"| {title} | {' | '.join(cells)} | {median(result['trellis / trl'][name], 2)} |")
        written.append("\n".join(lines))
    return "\n\n".join(written)


def report(results: Sequence[dict[str, Any]]) -> str:
    """Write the page."""
    gpu = [result for result in results if result["work"]["device"] != "cpu"]
    cpu = [result for result in results if result["work"]["device"] == "cpu"]
    none_yet = "No figure was taken on a GPU yet."
    return PAGE.format(trl=TRL, gpu=table(gpu) or none_yet, cpu=table(cpu) or "No figure was taken on a CPU yet.")


PAGE = """# GRPO beside TRL's GRPOTrainer

Written by `python benchmarks/grpo_peer.py --report` from `results/grpo_peer-*.json`. What is the same on both sides, and how it
is made so, says the head of `grpo_peer.py`. Medians of rounds that took turns, with their range; the ratio is taken round by
round. More steps/s and tokens/s are better, less of the rest.

## On a GPU

In an environment with Trellis and a build of torch for the GPU:

```
pip install trl=={trl} datasets
for size in 50M 125M 500M; do python benchmarks/grpo_peer.py --parameters $size --device cuda; done
python benchmarks/grpo_peer.py --report
```

Each prints steps/s, tokens/s of sampling, the seconds of a step that are not sampling and the peak of the memory that torch
allocated, for both sides and as ratios, and writes them to `results/grpo_peer-cuda-SIZE.json`; `--report` puts them here. A
step is 8 prompts x 8 generations x 128 tokens over a vocabulary of 32,000, in bfloat16 with weights of float32; `--prompts`,
`--generations`, `--max-tokens`, `--vocabulary` and `--precision` change that.

{gpu}

## On a CPU

One thread each, TRL {trl}. Peak memory is that of the whole process: TRL imports more libraries. What else the machine does
slows steps by the clock, often one side more than the other, and hardly those per second of CPU time: compare by these.

{cpu}
"""


def saved() -> list[dict[str, Any]]:
    """Return the committed measurements, the smallest model first."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("grpo_peer-*.json"))]
    return sorted(results, key=lambda result: result["parameters"])
