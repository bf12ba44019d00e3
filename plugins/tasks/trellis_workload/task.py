"""A workload as a task: a problem is a query, a solution is plan hints, one per step, and the verdict is a measurement."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trellis import DatabaseBackend, Outcome, Problem, Task, Trajectory
from trellis.errors import ConnectionLostError, SQLError
from trellis.measuring.measure import Measurement, measure
from trellis.procedural import split_of
from trellis.sql.files import read_queries
from trellis.sql.grammar import parse_hints
from trellis.sql.query import Query
from trellis.types import JSON, Split
from trellis_workload.config import FilesConfig, MeasuredConfig, RecordedConfig, ShopConfig
from trellis_workload.generator import Workload, WorkloadError, generate
from trellis_workload.recorded import filled


@dataclass(frozen=True, slots=True)
class WorkloadQuery:
    """A query of a workload.

    Attributes:
        name: Unique within the workload.
        sql: Its text.
        split: Where it belongs; None where its fingerprint decides.
        data: What else is known of it.
    """

    name: str
    sql: str
    split: Split | None = None
    data: tuple[tuple[str, JSON], ...] = ()


class MeasuredTask(Task):
    """Queries of a database, whose plan hints are judged by running them.

    A solution's text is plan hints (`trellis.sql.parse_hints`), one on each line. It is correct when the query under them is
    measured faster than under its default plan (`trellis.measuring`), with the same result. Else its score is below 1: 0
    where the hints cannot be read or do not fit, and half of default's time over its own where it ran.
    """

    def __init__(self, config: MeasuredConfig, *, database: DatabaseBackend) -> None:
        self.settings = config
        self.database = database

    @abstractmethod
    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the workload's queries."""

    @cached_property
    def _splits(self) -> dict[Split, list[Problem]]:
        splits: dict[Split, list[Problem]] = {"train": [], "validation": [], "test": []}
        for one in self.queries():
            try:
                query = self.database.parse(one.sql)
            except SQLError as error:
                error.add_note(f"in the query {one.name}; it is left out with `skip_unusable: true`")
                if not self.settings.skip_unusable or isinstance(error, ConnectionLostError):
                    raise
                continue
            # By fingerprint: a query that differs from a trained one in its literals alone is no test.
            split = one.split or split_of(query.fingerprint)
            splits[split].append(Problem(one.name, one.sql, {"fingerprint": query.fingerprint, **dict(one.data)}))
        return splits

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the queries of a split, in the workload's order."""
        return self._splits[split]

    def query(self, problem: Problem) -> Query:
        """Return a problem's query."""
        return self.database.parse(problem.text)

    def measure(self, trajectory: Trajectory) -> Measurement:
        """Measure a solution against the default plan.

        Raises:
            SQLError: The hints cannot be read or do not fit the query, or the database fails.
        """
        hints = parse_hints(trajectory.text)
        return measure(self.database, self.query(trajectory.problem), {"hints": hints}, self.settings.measure)

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a solution by running it.

        Raises:
            ConnectionLostError: The server went away and did not come back in time: that is no verdict on the hints.
        """
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        try:
            found = self.measure(trajectory).variants["hints"]
        except ConnectionLostError:
            raise
        except SQLError as error:
            return Outcome(False, 0.0, str(error))
        if found.judgement == "faster":
            return Outcome(True, 1.0)
        if found.judgement in ("wrong result", "failed", "timed out"):
            return Outcome(False, 0.0, found.reason or found.judgement)
        gain = 1.0 if found.speedup is None else found.speedup.value
        return Outcome(False, min(1.0, gain) / 2, f"{found.judgement}: {gain:.2f} times as fast as the default plan")

    def answer(self, trajectory: Trajectory) -> str | None:
        """Return the hints in their normal form."""
        try:
            return str(parse_hints(trajectory.text))
        except SQLError:
            return None


class Files(MeasuredTask):
    """The queries of SQL files and folders."""

    Config = FilesConfig

    def __init__(self, config: FilesConfig, *, database: DatabaseBackend) -> None:
        super().__init__(config, database=database)
        self.config = config

    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the statements of the files."""
        found = read_queries([Path(path).expanduser() for path in self.config.paths], dialect=self.database.dialect)
        return [WorkloadQuery(one.name, one.sql) for one in found]


class Shop(MeasuredTask):
    """The generated shop: loaded into its database when the first query is asked for, unless it is there."""

    Config = ShopConfig

    def __init__(self, config: ShopConfig, *, database: DatabaseBackend) -> None:
        super().__init__(config, database=database)
        self.config = config

    @cached_property
    def workload(self) -> Workload:
        """What is loaded and asked."""
        return generate(self.config)

    def load(self) -> bool:
        """Load the shop unless it is there, and say whether it was not."""
        from trellis_workload.database import load

        if self.database.dialect != "postgres":
            raise WorkloadError("the shop is written for PostgreSQL: take the database `postgres`")
        loaded = load(self.config.load_dsn or self.database.admin_dsn(), self.workload)
        if loaded:
            self.database.refresh()
        return loaded

    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the generated queries, in the splits that they were generated for."""
        self.load()
        return [
            WorkloadQuery(one.id, one.sql, one.split, (("template", one.template), ("shape", one.shape)))
            for one in self.workload.queries
        ]


class Recorded(MeasuredTask):
    """What the database itself remembers having run, by pg_stat_statements; constants come from its statistics."""

    Config = RecordedConfig

    def __init__(self, config: RecordedConfig, *, database: DatabaseBackend) -> None:
        super().__init__(config, database=database)
        self.config = config

    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the recorded queries that only read, with constants where the record has none.

        Raises:
            WorkloadError: None can be used; the message says why each cannot.
        """
        return filled(self.database, self.config)
