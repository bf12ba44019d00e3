"""Measuring on several databases at once: one database is one item of an executor, so no two timings run on one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from trellis.contracts import Executor
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import Measurement, measure
from trellis.plugins import build
from trellis.sql.hints import PlanHints


@dataclass(frozen=True, slots=True)
class Job:
    """A query to measure under hints.

    Attributes:
        use: The database component, e.g. "postgres".
        database: Its configuration; equal ones are one database.
        sql: The query.
        variants: Hints by name.
        config: The protocol.
    """

    use: str
    database: Mapping[str, Any]
    sql: str
    variants: Mapping[str, PlanHints]
    config: MeasureConfig = field(default_factory=MeasureConfig)


def measure_everywhere(jobs: Sequence[Job], *, executor: Executor) -> Iterator[tuple[int, Measurement]]:
    """Measure jobs, those of one database one after another, those of different databases as the executor spreads them.

    Args:
        jobs: What to measure.
        executor: Its workers should be fewer than the machine's cores: two that share one disturb each other's times.

    Yields:
        A job's place in `jobs`, and its measurement; a database's all at once, as it is done.

    Raises:
        Exception: What a job raised, with a note that says which; the others of its database are not measured.
    """
    by_database: dict[str, list[tuple[int, Job]]] = {}
    for place, job in enumerate(jobs):
        key = json.dumps([job.use, job.database], sort_keys=True, default=str)
        by_database.setdefault(key, []).append((place, job))
    for result in executor.map_unordered(_measure_one_database, list(by_database.values())):
        if result.error is not None:
            raise result.error
        assert result.value is not None
        yield from result.value


def _measure_one_database(jobs: Sequence[tuple[int, Job]], seed: int) -> list[tuple[int, Measurement]]:
    first = jobs[0][1]
    with closing(build(first.use, dict(first.database))) as backend:
        found = []
        for place, job in jobs:
            try:
                found.append((place, measure(backend, backend.parse(job.sql), job.variants, job.config)))
            except Exception as error:
                error.add_note(f"while measuring job {place}: {' '.join(job.sql.split())[:80]}")
                raise
        return found
