"""A server whose administrator has set it up well: what that is worth alone, and what hints are worth on top of it."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

from sefrqo.cell import Cell
from sefrqo.suite import TUNED
from sefrqo.truth import DEFAULT_TIMEOUT_MS, PAIRS

from trellis import DatabaseBackend, Problem, build
from trellis.errors import DatabaseError

ON_TOP = "portfolio"
"""The method that is measured on the tuned server too."""


def tuned_part(cell: Cell, *, root: Path) -> dict[str, Any]:
    """Return by set what the settings alone are worth, and a method on top, both relative to their own defaults."""
    settings = {"jit": "off", "max_parallel_workers_per_gather": "0", **TUNED}
    directory = str(cell.workload.directory)
    database: DatabaseBackend = build("postgres", {"directory": directory, "settings": settings})
    with closing(database):
        speedups = {
            name: [round(_speedup(problem, cell.database, database, seed=cell.seed), 4) for problem in problems]
            for name, problems in cell.sets.items()
        }
        with closing(Cell(cell.workload, database=database, root=root, sizes=cell.sizes, seed=cell.seed)) as on_top:
            on_top.sets = {
                name: [problem for problem in problems if problem in on_top.sets[name]]
                for name, problems in cell.sets.items()
            }
            return {
                "settings": TUNED,
                "speedup": speedups,
                "workload": on_top.described(),
                ON_TOP: on_top.measure(ON_TOP),
            }


def _speedup(problem: Problem, plain: DatabaseBackend, tuned: DatabaseBackend, *, seed: int) -> float:
    """Return the median over interleaved pairs of the plain server's time over the tuned one's."""
    query = plain.parse(problem.text)
    draw = random.Random(f"{seed}/{problem.id}")
    ratios = []
    for number in range(PAIRS + 1):
        runs = {}
        with plain.alone():
            for database in draw.sample([plain, tuned], 2):
                runs[database] = database.execute(query, timeout_ms=DEFAULT_TIMEOUT_MS)
        if runs[plain].digest != runs[tuned].digest:
            raise DatabaseError(f"{problem.id} has another result on the tuned server")
        # The first has warmed the caches.
        if number:
            ratios.append(runs[plain].latency_ms / runs[tuned].latency_ms)
    return sorted(ratios)[PAIRS // 2]
