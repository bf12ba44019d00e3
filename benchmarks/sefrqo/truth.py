"""What every plan of every query takes: measured once, when somebody first asks, and kept in a journal on disk.

All methods only choose hints, and hints that the planner turns into one plan are one and the same choice: a plan is run once
for all of them.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

from trellis import DatabaseBackend, Execution
from trellis.contracts.database import NO_HINTS
from trellis.errors import ConnectionLostError, DatabaseError
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import measure
from trellis.memory.journal import ExecutionEntry, Journal, query_key
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan, Shape
from trellis.sql.query import Query

PAIRS = 5
FACTOR = 20.0
"""No plan that once ended is stopped in its pairs, unless it takes so many times the best."""
FLOOR_MS = 5.0
DEFAULT_TIMEOUT_MS = 60_000.0
DECIDING, JUDGING = "verify", "evaluate"
"""The pairs that a method's verification sees, and others of the same plan by which it is judged afterwards."""


@dataclass(slots=True)
class Known:
    """What is known of a plan of a query.

    Attributes:
        first: Its first execution that ended, or the longest that was stopped; None where it never ran.
        failed: Whether the database refused it.
        pairs: By purpose, the default's and its own milliseconds, round by round.
        wrong: Whether any of its results was not the default's.
    """

    first: Execution | None = None
    failed: bool = False
    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    wrong: bool = False


@dataclass(slots=True)
class _Plans:
    """What is known of a query."""

    default: Execution
    default_shape: Shape
    by_shape: dict[Shape, Known] = field(default_factory=dict)
    hints: dict[Shape, str] = field(default_factory=dict)


class CannotBeMeasuredError(Exception):
    """A query's default does not end, or has no one result."""


class Truth:
    """The table of one database.

    Args:
        path: Its journal.
        database: Where it is measured.
    """

    def __init__(self, path: Path, database: DatabaseBackend) -> None:
        self.journal = Journal(path)
        self.database = database
        self.executions = 0
        self.seconds = 0.0
        self._plans: dict[str, _Plans] = {}
        self._explained: dict[tuple[str, PlanHints], Plan] = {}

    def explain(self, query: Query, hints: PlanHints = NO_HINTS) -> Plan:
        """Return a plan; each is asked for once."""
        key = (query.sql, hints)
        if key not in self._explained:
            self._explained[key] = self.database.explain(query, hints)
        return self._explained[key]

    def default(self, query: Query) -> Execution:
        """Return the default's median execution.

        Raises:
            CannotBeMeasuredError: It takes too long, fails, or gives another result each time.
        """
        return self._of(query).default

    def known(self, query: Query, hints: PlanHints) -> Known | None:
        """Return what is known of the plan under hints; None where it is the default's.

        Raises:
            HintError: The hints do not fit the query.
        """
        plans, shape = self._of(query), self.explain(query, hints).shape()
        if shape == plans.default_shape:
            return None
        plans.hints.setdefault(shape, str(hints))
        return plans.by_shape.setdefault(shape, Known())

    def ran(self, query: Query, hints: PlanHints, *, timeout_ms: float) -> Execution | None:
        """Return the first execution that ended, or one that was stopped at this time-out; None where it fails."""
        known = self.known(query, hints)
        if known is None:
            return self.default(query)
        if known.failed:
            return None
        timeout_ms = max(timeout_ms, FLOOR_MS)
        first = known.first
        if first is not None and (first.latency_ms >= timeout_ms or not first.timed_out):
            stopped = first.latency_ms > timeout_ms or first.timed_out
            return Execution(timeout_ms, timed_out=True) if stopped else first
        try:
            with self.database.alone():
                execution = self.database.execute(query, hints, timeout_ms=timeout_ms)
        except ConnectionLostError:
            raise
        except DatabaseError:
            known.failed = True
            self._note(query, hints, Execution(0.0), purpose="explore")
            return None
        self._note(query, hints, execution, purpose="explore")
        known.first = execution
        known.wrong |= not execution.timed_out and execution.digest != self.default(query).digest
        return execution

    def pairs(self, query: Query, hints: PlanHints, purpose: str) -> list[tuple[float, float]]:
        """Return the default's and a plan's milliseconds in interleaved pairs, measured unless they are known.

        Args:
            query: The query.
            hints: A plan that is not the default's.
            purpose: `DECIDING` or `JUDGING`; each has pairs of its own, so that luck in the one does not show in the other.
        """
        known = self.known(query, hints)
        assert known is not None
        if purpose not in known.pairs:
            ran: dict[str, list[Execution]] = {"default": [], "hints": []}
            config = MeasureConfig(
                pairs=PAIRS, min_pairs=PAIRS, factor=FACTOR, floor_ms=50, timeout_ms=DEFAULT_TIMEOUT_MS, seed=0
            )
            measured = measure(
                self.database, query, {"hints": hints}, config, on_execution=lambda name, e: ran[name].append(e)
            )
            if measured.lost_rounds:
                raise DatabaseError("the server went away in the middle of a measurement: run it again")
            # The first of each has warmed the caches.
            pairs = list(zip(ran["default"][1:], ran["hints"][1:], strict=False))
            self._note_pairs(query, hints, pairs, purpose)
            self._take(known, pairs, purpose, self.default(query).digest)
        return known.pairs[purpose]

    def ratio(self, query: Query, hints: PlanHints, *, purpose: str, slowest: float) -> float:
        """Return how many times as fast as the default a plan is, median over pairs, and 1 / `slowest` at least.

        What takes more than twice the default's time is judged by its one execution.
        """
        known = self.known(query, hints)
        if known is None:
            return 1.0
        default_ms = self.default(query).latency_ms
        ran = self.ran(query, hints, timeout_ms=slowest * default_ms)
        if ran is None or ran.timed_out:
            return 1 / slowest
        if ran.latency_ms > 2 * default_ms:
            return max(1 / slowest, default_ms / ran.latency_ms)
        pairs = self.pairs(query, hints, purpose)
        return statistics.median(default / own for default, own in pairs) if pairs else 1 / slowest

    def best(self, query: Query) -> PlanHints:
        """Return the fastest plan of all that were ever measured in pairs; no hints where that is the default's."""
        plans = self._of(query)
        best, fastest = NO_HINTS, 1.0
        for shape, known in plans.by_shape.items():
            pairs = known.pairs.get(DECIDING, [])
            if len(pairs) == PAIRS and not known.wrong:
                ratio = statistics.median(default / own for default, own in pairs)
                if ratio > fastest:
                    best, fastest = parse_hints(plans.hints[shape]), ratio
        return best

    def counts(self) -> dict[str, float]:
        """Return what was measured in all: plans, how many of them gave a wrong result or failed, executions, seconds."""
        known = [one for plans in self._plans.values() for one in plans.by_shape.values()]
        ran = self.journal.executions(database=self.database.identity)
        return {
            "plans": len([one for one in known if one.first is not None or one.pairs]),
            "wrong": sum(one.wrong for one in known),
            "failed": sum(one.failed for one in known),
            "executions": len(ran),
            "seconds": round(sum(e.latency_ms for e in ran) / 1000, 1),
        }

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def _of(self, query: Query) -> _Plans:
        key = query_key(query)
        if key not in self._plans:
            self._plans[key] = self._read(query, key)
        return self._plans[key]

    def _read(self, query: Query, key: str) -> _Plans:
        """Return what the journal has of a query, its default measured if it has none."""
        self.journal.add_query(query)
        shape = self.explain(query).shape()
        entries = self.journal.executions(key=key, database=self.database.identity)
        runs = [_execution(e) for e in entries if e.purpose == "explore" and not e.hints]
        if not runs:
            runs = self._run_default(query)
        plans = _Plans(sorted(runs, key=lambda e: e.latency_ms)[len(runs) // 2], shape)
        digest = plans.default.digest
        waiting: Execution | None = None
        for e in entries:
            if e.purpose == "explore" and e.hints:
                known = self._entry(plans, query, e.hints)
                if not e.timed_out and e.digest is None:
                    known.failed = True
                    continue
                known.first = _execution(e)
                known.wrong |= not e.timed_out and e.digest != digest
            elif e.purpose in (DECIDING, JUDGING):
                if not e.hints:
                    waiting = _execution(e)
                    continue
                known = self._entry(plans, query, e.hints)
                assert waiting is not None
                self._take(known, [(waiting, _execution(e))], e.purpose, digest)
        return plans

    def _entry(self, plans: _Plans, query: Query, hints: str) -> Known:
        shape = self.explain(query, parse_hints(hints)).shape()
        plans.hints.setdefault(shape, hints)
        return plans.by_shape.setdefault(shape, Known())

    def _run_default(self, query: Query) -> list[Execution]:
        """Return three executions when warm."""
        runs = []
        with self.database.alone():
            for number in range(4):
                try:
                    execution = self.database.execute(query, timeout_ms=DEFAULT_TIMEOUT_MS)
                except ConnectionLostError:
                    raise
                except DatabaseError as error:
                    raise CannotBeMeasuredError(f"by default it fails: {error}") from error
                if execution.timed_out:
                    raise CannotBeMeasuredError(f"by default it takes longer than {DEFAULT_TIMEOUT_MS:.0f} ms")
                runs += [execution] if number else []
        if len({execution.digest for execution in runs}) > 1:
            raise CannotBeMeasuredError("two executions of it give different results")
        for execution in runs:
            self._note(query, NO_HINTS, execution, purpose="explore")
        return runs

    @staticmethod
    def _take(known: Known, pairs: list[tuple[Execution, Execution]], purpose: str, digest: str | None) -> None:
        known.pairs.setdefault(purpose, []).extend((default.latency_ms, own.latency_ms) for default, own in pairs)
        known.wrong |= any(not own.timed_out and own.digest != digest for _, own in pairs)

    def _note(self, query: Query, hints: PlanHints, execution: Execution, *, purpose: str) -> None:
        self._count(execution)
        self.journal.add_execution(self._journalled(query, hints, execution, purpose))

    def _note_pairs(
        self, query: Query, hints: PlanHints, pairs: list[tuple[Execution, Execution]], purpose: str
    ) -> None:
        for default, own in pairs:
            self._count(default)
            self._count(own)
        # All or none: half of the pairs would be taken for all of them.
        self.journal.add_executions(
            [
                self._journalled(query, h, execution, purpose)
                for default, own in pairs
                for h, execution in ((NO_HINTS, default), (hints, own))
            ]
        )

    def _count(self, execution: Execution) -> None:
        self.executions += 1
        self.seconds += execution.latency_ms / 1000

    def _journalled(self, query: Query, hints: PlanHints, e: Execution, purpose: str) -> ExecutionEntry:
        return ExecutionEntry(
            query_key(query),
            self.database.identity,
            str(hints) if hints else "",
            e.latency_ms,
            e.timed_out,
            e.num_rows,
            e.digest,
            purpose,
        )


def _execution(e: ExecutionEntry) -> Execution:
    return Execution(e.latency_ms, timed_out=e.timed_out, num_rows=e.num_rows, digest=e.digest)
