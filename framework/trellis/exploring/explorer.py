"""The loop over one query: propose, rank, try within bounds, verify in pairs, decide, remember.

What is tried first runs under a ladder of short time-outs, then under a little more than the best time so far: most random
join orders are far slower than the default, and a plan that is 64 times faster shows itself in a 64th of the time. What won
there has won once, by luck as often as not; only what then wins in interleaved pairs, with an equal result, is served.

What was verified on other tables, statistics or another server than are there now, or was withdrawn, is tried again before
anything new is.

Every execution is in the journal before the next begins, so that a process killed at any point has lost nothing, and nothing
is served that was not verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from trellis.contracts import DatabaseBackend, Execution, Proposal, Proposer, Situation, Tried
from trellis.errors import ConnectionLostError, DatabaseError, SQLError
from trellis.exploring.config import ExploreConfig
from trellis.exploring.visit import Explored, Spent, Try, Visit
from trellis.measuring.measure import measure
from trellis.memory.drift import drift_of, ground_of, note_catalog
from trellis.memory.journal import DecisionEntry, ExecutionEntry, Journal, MeasurementEntry, query_key
from trellis.memory.memory import Memory, tried_of
from trellis.memory.recording import entry_of
from trellis.memory.serving import Drift, decide, sifted
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Shape
from trellis.sql.query import Query
from trellis.types import Problem

Ranker = Callable[[Situation, Sequence[Proposal]], Sequence[Proposal]]
"""Puts proposals into the order in which they should be tried, before any of them runs."""


class Explorer:
    """Explores queries of one database.

    Args:
        database: Where they run; nobody else is timed on it meanwhile.
        memory: What was measured before, and where new measurements go.
        proposer: Writes hints.
        config: Bounds and protocol.
        rank: Orders proposals before they run; as the proposer had them when left out.
    """

    def __init__(
        self,
        database: DatabaseBackend,
        *,
        memory: Memory,
        proposer: Proposer,
        config: ExploreConfig | None = None,
        rank: Ranker | None = None,
    ) -> None:
        self.database = database
        self.memory = memory
        self.proposer = proposer
        self.config = config or ExploreConfig()
        self.rank = rank
        self.spent = Spent()
        self._defaults: dict[str, tuple[float, str | None]] = {}
        self._unusable: dict[str, str] = {}
        self._shapes: dict[tuple[str, PlanHints], Shape] = {}
        note_catalog(memory.journal, database.catalog())

    @property
    def journal(self) -> Journal:
        """Where everything is kept."""
        return self.memory.journal

    def exhausted(self) -> str:
        """Say which bound on executions or seconds is reached; empty where none is."""
        c, spent = self.config, self.spent
        if c.executions is not None and spent.executions >= c.executions:
            return f"{spent.executions} executions (`executions`)"
        if c.seconds is not None and spent.seconds >= c.seconds:
            return f"{spent.seconds:.1f} s of executions (`seconds`)"
        if c.share is not None and self._defaults:
            workload_s = sum(ms for ms, _ in self._defaults.values()) / 1000
            if spent.seconds >= c.share * workload_s:
                return f"{spent.seconds:.1f} s of executions, {c.share:g} times the workload's (`share`)"
        return ""

    def measure_default(self, problem: Problem) -> float | None:
        """Run a query by default, twice unless it is known, and return its time in ms; None where it cannot be explored.

        The time is remembered by this explorer alone: verification measures the default anew in every pair. Why a query
        cannot be explored is what `explore` says of it.
        """
        query = self.database.parse(problem.text)
        key = self.journal.add_query(query, name=problem.id)
        if key not in self._defaults and key not in self._unusable:
            found = self._run_default(key, query)
            if isinstance(found, str):
                self._unusable[key] = found
            else:
                self._defaults[key] = found
        return self._defaults[key][0] if key in self._defaults else None

    def _run_default(self, key: str, query: Query) -> tuple[float, str | None] | str:
        """Return the default's time and digest when warm, or why it has none that others can be compared with."""
        timeout_ms = self.config.default_timeout_ms
        executions = []
        with self.database.alone():
            for _ in range(2):
                try:
                    executions.append(self.database.execute(query, timeout_ms=timeout_ms))
                except ConnectionLostError:
                    raise
                except DatabaseError as error:
                    return f"by default it fails: {error}"
                self._note(key, "", executions[-1], purpose="explore")
                if executions[-1].timed_out:
                    return f"by default it takes longer than {timeout_ms:.0f} ms (`default_timeout_ms`)"
        first, second = executions
        if first.digest != second.digest:
            return "two executions of it give different results, so no other plan's can be compared with them"
        return second.latency_ms, second.digest

    def explore(self, problem: Problem, *, seed: int = 0) -> Explored:
        """Visit a query once.

        Args:
            problem: The query, as a problem of its workload.
            seed: Of this visit.

        Raises:
            ConnectionLostError: The server went away and is not back in time; what ran before is kept.
        """
        c = self.config
        default_ms = self.measure_default(problem)
        query = self.database.parse(problem.text)
        key = self.journal.add_query(query, name=problem.id)
        if default_ms is None:
            decision = self.decide(query)
            return Explored(
                key, c.default_timeout_ms, c.default_timeout_ms, decision=decision, skipped=self._unusable[key]
            )
        holding, again = self._sifted(query)
        situation = self.situation(problem, query, tried=[tried_of(m) for m in holding])
        proposals = self.proposer.propose(situation, c.proposals, seed=seed)
        ranked = proposals if self.rank is None else self.rank(situation, proposals)
        visit = Visit(key, query, situation.plan, default_ms, self._defaults[key][1])
        first = [Proposal(parse_hints(m.hints), m.source) for m in again[: c.tried]]
        visit.tries = self._new_plans(key, situation, [*first, *ranked])
        with self.database.alone():
            self._climb(visit)
            verified = self._verify(visit, seed=seed)
        for one in visit.tries:
            if one.proposal.hints not in verified:
                self.memory.remember(query, self._once(visit, one))
        decision = self.decide(query)
        return Explored(
            key,
            default_ms,
            self.best_ms(key, default_ms),
            len(proposals),
            len(visit.tries),
            len(verified),
            decision,
            self._unusable.get(key, ""),
        )

    def look(self) -> None:
        """Look at the schema and its statistics: where they have changed, what was measured of defaults is forgotten."""
        before = self.database.catalog()
        self.database.refresh()
        now = self.database.catalog()
        if now != before:
            note_catalog(self.journal, now)
            self._defaults.clear()
            self._unusable.clear()
            self._shapes.clear()

    def situation(self, problem: Problem, query: Query, *, tried: Sequence[Tried] | None = None) -> Situation:
        """Return what a proposer may draw on.

        Args:
            problem: The query as a problem.
            query: The query.
            tried: What was measured on it and holds; all that was measured when left out.
        """
        return Situation(
            problem=problem,
            query=query,
            catalog=self.database.catalog(),
            plan=self.database.explain(query),
            tried=self.memory.tried(query) if tried is None else tried,
            neighbours=lambda k: self.memory.neighbours(query, k),
            plan_of=partial(self.database.planned, query),
        )

    def decide(self, query: Query) -> DecisionEntry | None:
        """Decide what a query's record calls for, note it, and return it; None where what holds is right."""
        key = query_key(query)
        decision = decide(
            key,
            self.memory.database,
            self.journal.measurements(key=key, database=self.memory.database),
            self.journal.decisions(key=key, database=self.memory.database),
            drift=self._drift(query, planner=True),
            config=self.config.serving,
        )
        if decision is not None:
            self.journal.decide(decision)
        return decision

    def best_ms(self, key: str, default_ms: float) -> float:
        """Return the time of what is served for a query, relative to the default's time given."""
        served = self.journal.decisions(key=key, database=self.memory.database)
        if not served or served[-1].action != "serve":
            return default_ms
        found = [
            m
            for m in self.journal.measurements(key=key, database=self.memory.database)
            if m.hints == served[-1].hints and m.speedup > 0
        ]
        return default_ms / found[-1].speedup if found else default_ms

    def num_known(self, problem: Problem) -> int:
        """Return how many measurements of a query hold; 0 where it cannot be read."""
        try:
            return len(self._sifted(self.database.parse(problem.text))[0])
        except ConnectionLostError:
            raise
        except SQLError:
            return 0

    def _sifted(self, query: Query) -> tuple[list[MeasurementEntry], list[MeasurementEntry]]:
        key, database = query_key(query), self.memory.database
        return sifted(
            self.journal.measurements(key=key, database=database),
            self.journal.decisions(key=key, database=database),
            drift=self._drift(query),
            served_drift=self._drift(query, planner=True),
            config=self.config.serving,
        )

    def _drift(self, query: Query, *, planner: bool = False) -> Drift:
        catalog, version = self.database.catalog(), self.database.server_version
        return drift_of(query, self.journal, catalog, version, planner=self.database if planner else None)

    def _new_plans(self, key: str, situation: Situation, proposals: Sequence[Proposal]) -> list[Try]:
        """Return the first `tried` proposals whose plans are neither the default's nor one that has run before."""
        known: set[Shape] = {situation.plan.shape()}
        for tried in situation.tried:
            if (key, tried.hints) not in self._shapes:
                plan = situation.plan_of(tried.hints)
                if plan is not None:
                    self._shapes[key, tried.hints] = plan.shape()
            if (key, tried.hints) in self._shapes:
                known.add(self._shapes[key, tried.hints])
        found: list[Try] = []
        for proposal in proposals:
            if len(found) == self.config.tried:
                break
            plan = situation.plan_of(proposal.hints)
            if plan is not None and plan.shape() not in known:
                known.add(plan.shape())
                self._shapes[key, proposal.hints] = plan.shape()
                found.append(Try(proposal, plan))
        return found

    def _climb(self, visit: Visit) -> None:
        """Try every plan under longer and longer time-outs, until it ends or can no longer be the best."""
        c = self.config
        best_ms = visit.default_ms
        for rung in (*c.ladder, None):
            for one in visit.tries:
                if one.latency_ms is not None or one.failure:
                    continue
                bound_ms = c.factor * best_ms
                limit_ms = max(c.floor_ms, bound_ms if rung is None else min(rung * visit.default_ms, bound_ms))
                if limit_ms <= one.limit_ms:
                    continue
                one.limit_ms = limit_ms
                ended = self._execute(visit, one.proposal.hints, limit_ms)
                if isinstance(ended, DatabaseError):
                    one.failure, one.reason = "failed", str(ended)
                elif not ended.timed_out:
                    one.latency_ms = ended.latency_ms
                    if visit.digest is not None and ended.digest != visit.digest and not self._data_changed(visit):
                        one.failure, one.reason = "wrong result", "its result is not the default's"
                    else:
                        best_ms = min(best_ms, ended.latency_ms)

    def _data_changed(self, visit: Visit) -> bool:
        """Whether the default's result is another than it was: then this visit's tries tell of nothing but their times."""
        found = self._run_default(visit.key, visit.query)
        changed = isinstance(found, str) or found[1] != visit.digest
        if changed:
            visit.digest = None
            self._defaults.pop(visit.key, None)
        return changed

    def _verify(self, visit: Visit, *, seed: int) -> set[PlanHints]:
        """Measure the best of what ran faster than the default in pairs, and return which were."""
        c = self.config
        fast = [one for one in visit.tries if one.latency_ms is not None and not one.failure]
        fast = [one for one in fast if (one.latency_ms or 0.0) * (1 + c.serving.margin) <= visit.default_ms]
        fast = sorted(fast, key=lambda one: one.latency_ms or 0.0)[: c.verified]
        if not fast:
            return set()
        names = {str(number): one for number, one in enumerate(fast)}

        def note(name: str, execution: Execution) -> None:
            hints = "" if name == "default" else str(names[name].proposal.hints)
            self._note(visit.key, hints, execution, purpose="verify")

        config = c.measure.model_copy(update={"seed": seed, "timeout_ms": c.default_timeout_ms})
        variants = {name: one.proposal.hints for name, one in names.items()}
        try:
            measured = measure(self.database, visit.query, variants, config, on_execution=note)
        except ConnectionLostError:
            raise
        except SQLError as error:
            # The default itself cannot be measured any more, e.g. since its result has changed: nothing can be verified.
            self._unusable[visit.key] = f"it could not be verified: {error}"
            self._defaults.pop(visit.key, None)
            return set()
        for name, one in names.items():
            self.memory.remember(
                visit.query,
                entry_of(
                    measured,
                    name,
                    key=visit.key,
                    hints=str(one.proposal.hints),
                    source=one.proposal.source,
                    backend=self.database,
                    at=time.time(),
                ),
            )
        return set(variants.values())

    def _once(self, visit: Visit, one: Try) -> MeasurementEntry:
        """Return what a try that was not verified tells: its time, or a bound on it; never enough to be served."""
        reason = one.reason
        if one.failure:
            judgement, speedup = one.failure, 0.0
        elif one.latency_ms is None:
            judgement, speedup = "timed out", visit.default_ms / one.limit_ms
            reason = f"stopped after {one.limit_ms:.0f} ms, the default takes {visit.default_ms:.0f} ms"
        else:
            judgement, speedup = "undecided", visit.default_ms / one.latency_ms
        return MeasurementEntry(
            visit.key,
            self.memory.database,
            str(one.proposal.hints),
            judgement,
            speedup,
            None,
            None,
            visit.default_ms,
            one.latency_ms,
            0 if one.latency_ms is None else 1,
            None,
            one.proposal.source,
            self.database.catalog().version,
            self.database.server_version,
            reason=reason,
            ground=ground_of(
                visit.query,
                self.database.catalog(),
                default=visit.plan,
                plan=one.plan,
                settings=self.database.settings,
            ),
        )

    def _execute(self, visit: Visit, hints: PlanHints, timeout_ms: float) -> Execution | DatabaseError:
        """Run once, noted, and return how it went, or what the database says where it refuses."""
        try:
            execution = self.database.execute(visit.query, hints, timeout_ms=timeout_ms)
        except ConnectionLostError:
            raise
        except DatabaseError as error:
            self.spent.executions += 1
            return error
        self._note(visit.key, str(hints), execution, purpose="explore")
        return execution

    def _note(self, key: str, hints: str, execution: Execution, *, purpose: str) -> None:
        self.spent.executions += 1
        self.spent.seconds += execution.latency_ms / 1000
        self.journal.add_execution(
            ExecutionEntry(
                key,
                self.memory.database,
                hints,
                execution.latency_ms,
                execution.timed_out,
                execution.num_rows,
                execution.digest,
                purpose,
            )
        )
