"""What every benchmark here shares: medians with their spread, and where results go."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, minimum and maximum of several runs."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def paired_ratios(first: Callable[[], float], second: Callable[[], float], *, runs: int) -> dict[str, Any]:
    """Measure two things in turn, so that a machine that slows down slows both, and compare them pair by pair.

    Args:
        first: Runs once and returns its seconds.
        second: The same, for what the first is compared with.
        runs: Counted pairs; one more is run first and not counted.
    """
    first(), second()
    pairs = [(first(), second()) for _ in range(runs)]
    return {
        "first_s": spread([a for a, _ in pairs]),
        "second_s": spread([b for _, b in pairs]),
        "ratio": spread([a / b for a, b in pairs]),
    }


def write(name: str, measured: dict[str, Any]) -> None:
    """Print what was measured, and write it to `results/<name>.json` with the machine it was measured on."""
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    text = json.dumps({"command": f"python benchmarks/{name}.py", "machine": machine, **measured}, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
