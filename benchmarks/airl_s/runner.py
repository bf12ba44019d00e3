"""Runs the missing parts of cells in worker processes, and keeps each result as soon as it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cell import Cell
from parts import PARTS
from suite import REGIMES, TASKS, Sizes

from trellis import build
from trellis.types import Split


@dataclass(frozen=True, slots=True)
class Job:
    """One part of one cell.

    Attributes:
        part: Its name.
        task: The task's name in the suite.
        seed: The cell's seed.
        sizes: How much of everything.
        root: Where what is trained is kept.
        results: Where what is measured is kept, one file a cell.
        split: The split that is measured on.
    """

    part: str
    task: str
    seed: int
    sizes: Sizes
    root: Path
    results: Path
    split: Split


def run(jobs: Sequence[Job], *, processes: int) -> None:
    """Run what is missing, part after part: two parts of a cell share what was trained, and are not run at once."""
    executor = build("processes", {"workers": processes}) if processes > 1 else build("local")
    started = time.perf_counter()
    try:
        for part in dict.fromkeys(job.part for job in jobs):
            todo = [job for job in jobs if job.part == part]
            for number, result in enumerate(executor.map_unordered(measure, todo), start=1):
                if result.error is not None:
                    raise result.error
                print(
                    f"[{time.perf_counter() - started:6.0f} s] {part} {number}/{len(todo)}: {result.value}", flush=True
                )
    finally:
        executor.close()


def measure(job: Job, _: int) -> str:
    """Measure a part of a cell unless its file has it, and say how long it took."""
    path = job.results / f"{job.task}-{job.seed}.json"
    done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if job.part in done:
        return f"{path.stem} was there"
    started = time.perf_counter()
    cell = Cell(job.task, (TASKS | REGIMES)[job.task], job.seed, sizes=job.sizes, root=job.root, split=job.split)
    found = PARTS[job.part](cell)
    seconds = time.perf_counter() - started
    done[job.part] = {**found, "part_seconds": seconds}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(done, separators=(",", ":")) + "\n", encoding="utf-8")
    temporary.replace(path)
    return f"{path.stem} took {seconds:.0f} s"
