"""A workload as a task: a problem is a query, a solution is plan hints, one per step, and the verdict is a measurement."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import log
from pathlib import Path

from trellis import DatabaseBackend, Outcome, Problem, PromptBuilder, Rollout, Situation, Step, Task, Trajectory
from trellis.errors import ConnectionLostError, HintError, SQLError
from trellis.measuring.measure import Measurement, VariantResult, measure
from trellis.memory.journal import Journal, MeasurementEntry, query_key
from trellis.procedural import split_of
from trellis.sql.files import read_queries
from trellis.sql.fit import check_hints
from trellis.sql.from_plan import plan_hints
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints
from trellis.sql.plan_words import joined_words, plan_words
from trellis.sql.query import Query
from trellis.sql.renaming import Renaming
from trellis.sql.steps import FREE, hints_of, lines_of, next_lines, unsided
from trellis.types import JSON, Split
from trellis_workload.config import FilesConfig, MeasuredConfig, ShopConfig
from trellis_workload.generator import Workload, WorkloadError, generate


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

    A solution is written in the language of `trellis.sql.steps`, one join decision a line, under the names that the prompt
    gives to the query's relations (t1, t2, … without a prompt builder); hints as `trellis.sql.parse_hints` reads them are
    taken too. It is correct when the query under them is measured faster than under its default plan (`trellis.measuring`),
    with the same result. Else its score is below 1: 0 where the hints cannot be read or do not fit, and half of the default's
    time over its own where it ran.
    """

    def __init__(
        self, config: MeasuredConfig, *, database: DatabaseBackend, prompt: PromptBuilder | None = None
    ) -> None:
        self.settings = config
        self.database = database
        self.prompt = prompt
        self.traces_grow = config.journal is not None
        self.constrained = config.constrained
        self._situations: dict[str, Situation] = {}
        self._prompts: dict[str, str] = {}
        self._outcomes: dict[tuple[str, PlanHints], Outcome] = {}
        self._words: dict[tuple[str, PlanHints], list[str]] = {}

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

    def start(self, problem: Problem, prompt: str | None = None) -> Trajectory:
        """Return the empty trajectory of a query, after the prompt builder's prompt where there is one."""
        if prompt is None and self.prompt is not None:
            if problem.id not in self._prompts:
                self._prompts[problem.id] = self.prompt.build(problem, self.situation(problem))
            prompt = self._prompts[problem.id]
        return super().start(problem, prompt)

    def situation(self, problem: Problem) -> Situation:
        """Return what is known of a query without a memory: its plans, unexecuted, and the catalog."""
        if problem.id not in self._situations:
            query = self.database.parse(problem.text)
            catalog, plan = self.database.catalog(), self.database.explain(query)
            plan_of = partial(self.database.planned, query)
            # Prompts ask for plans too, and must say of a query what they say of it while it is explored.
            self._situations[problem.id] = Situation(problem, query, catalog, plan, plan_of=plan_of)
        return self._situations[problem.id]

    def renaming(self, query: Query) -> Renaming:
        """Return the names under which solutions are written."""
        return Renaming.canonical(query) if self.prompt is None else self.prompt.renaming(query)

    def hints(self, trajectory: Trajectory) -> PlanHints:
        """Read a solution as hints of its query.

        Raises:
            HintSyntaxError: It is neither a sequence of decisions nor hints.
            HintError: It names what the query does not have, or an order that is not legal.
        """
        query = self.database.parse(trajectory.problem.text)
        renaming = self.renaming(query)
        named = renaming.query(query)
        try:
            hints = hints_of(named, [line for line in trajectory.text.split(self.separator) if line])
        except HintError:
            hints = parse_hints(trajectory.text)
            check_hints(hints, named)
        return renaming.undo(hints)

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return the join decisions that can be written next, whichever are good."""
        if not trajectory.open:
            return []
        query = self.database.parse(trajectory.problem.text)
        named = self.renaming(query).query(query)
        lines = [line for line in trajectory.text.split(self.separator) if line]
        try:
            found = next_lines(named, lines, free=True, sides=self.settings.sides)
        except HintError:
            return []
        if not self.settings.methods:
            found = [line for line in found if line.startswith((f"{FREE}(", "Leading("))]
        last = len(found) == 1 and not next_lines(named, [*lines, *found], free=True)
        return list(found) if last else [line + self.separator for line in found]

    def step_words(self, trajectory: Trajectory) -> list[list[str]]:
        """Say of each decision what it joins, and of the last one of a whole order how the database would run it.

        One EXPLAIN for an order that was not asked about before. Until an order is whole nobody knows its plan: a score of its
        beginning is by what is joined alone.
        """
        template = self.database.parse(trajectory.problem.text).fingerprint[:8]
        words: list[list[str]] = []
        for step in trajectory.steps:
            word, _, rest = step.text.strip().rstrip(")").partition("(")
            words.append([] if word == "Leading" else joined_words(template, rest.split()))
        if trajectory.finished and words:
            words[-1] += self._plan_words(trajectory, template)
        return words

    def _plan_words(self, trajectory: Trajectory, template: str) -> list[str]:
        try:
            hints = self.hints(trajectory)
        except ConnectionLostError:
            raise
        except SQLError:
            return []
        key = trajectory.problem.id, hints
        if key not in self._words:
            situation = self.situation(trajectory.problem)
            plan, names = situation.plan_of(hints), self.renaming(situation.query).names
            self._words[key] = (
                [] if plan is None
                else plan_words(plan, situation.query, default=situation.plan, names=names, template=template)
            )  # fmt: skip
        return self._words[key]

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return the join order of the fastest plan that the journal knows of each query that has one."""
        if self.settings.journal is None:
            return ()
        journal = Journal(self.settings.journal)
        try:
            best = journal.best(self.database.identity, journal.measured_keys(self.database.identity))
        finally:
            journal.close()
        found = []
        for problem in self.problems(split):
            measured = best.get(query_key(self.database.parse(problem.text)))
            if measured is not None and measured.judgement == "faster":
                trace = self.trajectory(problem, parse_hints(measured.hints))
                found += [] if trace is None else [trace]
        return found

    def experience(self, split: Split) -> Sequence[Rollout]:
        """Return every plan in the journal that ran on a query of the split, as its join order, with how it went.

        Orders that were measured again count as the last time; what failed has no gain.
        """
        if self.settings.journal is None:
            return ()
        journal = Journal(self.settings.journal)
        try:
            entries: dict[str, dict[str, MeasurementEntry]] = {}
            for entry in journal.measurements(database=self.database.identity):
                entries.setdefault(entry.key, {})[entry.hints] = entry
        finally:
            journal.close()
        found: list[Rollout] = []
        for problem in self.problems(split):
            measured = entries.get(query_key(self.database.parse(problem.text)), {})
            for hints, entry in measured.items():
                try:
                    trajectory = self.trajectory(problem, parse_hints(hints)) if hints else None
                except ConnectionLostError:
                    raise
                except SQLError:
                    # Recorded under another catalog, or what decisions cannot say.
                    continue
                found += [] if trajectory is None else [Rollout(trajectory, _remembered(entry))]
        return found

    def trajectory(self, problem: Problem, hints: PlanHints) -> Trajectory | None:
        """Return the join order that a query has under hints as a finished trajectory; None where it has none to write."""
        lines = self.lines(problem, hints)
        if not lines:
            return None
        steps = (*tuple(Step(line + self.separator) for line in lines[:-1]), Step(lines[-1]))
        trajectory = self.constrain(replace(self.start(problem), steps=steps, finished=True))
        return replace(trajectory, answer=self.answer(trajectory))

    def lines(self, problem: Problem, hints: PlanHints) -> list[str]:
        """Return the join order that a query has under hints as decisions; empty where it has none that can be written."""
        query = self.database.parse(problem.text)
        order = PlanHints(joins=hints.joins if self.settings.methods else (), leading=hints.leading)
        if not order.leading:
            order = plan_hints(self.database.explain(query, hints), query, methods=self.settings.methods, scans=False)
        renaming = self.renaming(query)
        named, there = renaming.query(query), renaming.apply(order)
        return lines_of(there if self.settings.sides else unsided(there, named), named) if order else []

    def measure(self, trajectory: Trajectory) -> Measurement:
        """Measure a solution against the default plan.

        Raises:
            SQLError: The hints cannot be read or do not fit the query, or the database fails.
        """
        query = self.database.parse(trajectory.problem.text)
        return measure(self.database, query, {"hints": self.hints(trajectory)}, self.settings.measure)

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a solution by running it; the same hints of a query are measured once.

        Raises:
            ConnectionLostError: The server went away and did not come back in time: that is no verdict on the hints.
        """
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        try:
            key = trajectory.problem.id, self.hints(trajectory)
            if key not in self._outcomes:
                measured = self.measure(trajectory)
                self._outcomes[key] = _judged(measured.variants["hints"], measured.default.median_ms)
            return self._outcomes[key]
        except ConnectionLostError:
            raise
        except SQLError as error:
            return Outcome(False, 0.0, str(error))

    def answer(self, trajectory: Trajectory) -> str | None:
        """Return the hints in their normal form."""
        try:
            return str(self.hints(trajectory))
        except SQLError:
            return None


def _judged(found: VariantResult, default_ms: float | None) -> Outcome:
    """Judge a variant; `default_ms` is the default's median."""
    speedup = 1.0 if found.speedup is None else found.speedup.value
    if found.judgement == "faster":
        return Outcome(True, 1.0, gain=log(speedup))
    if found.judgement in ("wrong result", "failed"):
        return Outcome(False, 0.0, found.reason or found.judgement)
    if found.judgement == "timed out":
        if found.speedup is None and found.stopped_ms is not None and default_ms is not None:
            return Outcome(False, 0.0, found.reason, gain=log(default_ms / found.stopped_ms), bounded=True)
        return Outcome(False, 0.0, found.reason, gain=log(speedup) if found.speedup else None)
    reason = f"{found.judgement}: {speedup:.2f} times as fast as the default plan"
    return Outcome(False, min(1.0, speedup) / 2, reason, gain=log(speedup))


def _remembered(entry: MeasurementEntry) -> Outcome:
    """Judge what the journal has of some hints as `verify` would have."""
    if entry.speedup <= 0:
        return Outcome(False, 0.0, entry.judgement)
    if entry.judgement == "faster":
        return Outcome(True, 1.0, gain=log(entry.speedup))
    stopped = entry.judgement == "timed out"
    score = 0.0 if stopped else min(1.0, entry.speedup) / 2
    return Outcome(False, score, entry.judgement, gain=log(entry.speedup), bounded=stopped and entry.pairs == 0)


class Files(MeasuredTask):
    """The queries of SQL files and folders."""

    Config = FilesConfig

    def __init__(self, config: FilesConfig, *, database: DatabaseBackend, prompt: PromptBuilder | None = None) -> None:
        super().__init__(config, database=database, prompt=prompt)
        self.config = config

    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the statements of the files."""
        found = read_queries([Path(path).expanduser() for path in self.config.paths], dialect=self.database.dialect)
        return [WorkloadQuery(one.name, one.sql) for one in found]


class Shop(MeasuredTask):
    """The generated shop: loaded into its database when the first query is asked for, unless it is there."""

    Config = ShopConfig

    def __init__(self, config: ShopConfig, *, database: DatabaseBackend, prompt: PromptBuilder | None = None) -> None:
        super().__init__(config, database=database, prompt=prompt)
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
