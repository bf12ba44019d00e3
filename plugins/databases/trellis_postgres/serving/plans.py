"""What one process serves of a journal: the decisions that hold, how they fare, and what has changed under them.

A thread of its own reads the journal and the schema and writes what was counted; executing a query never waits for it. It has a
connection of its own only while it looks at the schema.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from trellis.errors import DatabaseError, SQLError
from trellis.memory.drift import drift_of, growth, note_catalog, tables_of
from trellis.memory.journal import DecisionEntry, ExecutionEntry, Journal
from trellis.memory.serving import Ledger, ServedPlan, ServingConfig, plan_of
from trellis.sql.reader import parse_query
from trellis_postgres.backend import Postgres
from trellis_postgres.config import PostgresConfig
from trellis_postgres.dialects.base import HintDialect
from trellis_postgres.serving.recognition import literals
from trellis_postgres.serving.state import REMEMBERED, State, Statement, recognised

_log = logging.getLogger("trellis.serving")
_PENDING = 100_000
_READY_S = 30.0
_NONE: Any = object()


class Serving:
    """The plans of one journal for one database, shared by this process's connections.

    Args:
        path: The journal.
        config: The rules.
        dsn: How the schema is looked at: as the connections do.

    Attributes:
        libraries: What connections must load.
    """

    def __init__(self, path: Path, config: ServingConfig, dsn: str) -> None:
        self.path = path
        self.config = config
        self.libraries: tuple[str, ...] = ()
        self._look = PostgresConfig.model_validate(
            {
                "dsn": dsn,
                "dialect": config.dialect,
                "allow_privileged": True,
                "application_name": "trellis: serving",
            }
        )
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._ready, self._wake = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._working = threading.RLock()
        self._counting = threading.Lock()
        self._closed = False
        self._state: State | None = None
        self._dialect: HintDialect | None = None
        self._database = ""
        self._mark = (-1, -1)
        self._looked_at = 0.0
        self._look_due = False
        self._held: dict[int, tuple[str, int]] = {}
        self._compared: dict[int, list[str]] | None = None
        self._ledgers: dict[int, Ledger] = {}
        self._withdrawn: set[int] = set()
        self._executions: deque[ExecutionEntry] = deque(maxlen=_PENDING)
        self._decisions: deque[tuple[int, DecisionEntry]] = deque()
        self._journal = Journal(path)
        threading.Thread(target=self._run, name="trellis serving", daemon=True).start()

    def attach(self, connection: Any) -> None:
        """Keep working while this connection is open."""
        self._connections.add(connection)

    def wait_ready(self) -> None:
        """Return when it knows what to serve.

        Raises:
            DatabaseError: The server cannot be reached, or cannot do the dialect.
        """
        if not self._ready.wait(_READY_S):
            raise DatabaseError(f"the schema could not be read within {_READY_S:g} s, so nothing can be served")
        if self._failure is not None:
            raise self._failure

    @property
    def database(self) -> str:
        """Which database, as `DatabaseBackend.identity` names it."""
        return self._database

    @property
    def dialect(self) -> str:
        """How hints are given."""
        return "" if self._dialect is None else self._dialect.name

    def counts(self) -> dict[str, float]:
        """Return what this process has counted: "plans" now, executions "served", "default" and "fallbacks", "gain_ms"."""
        state = self._state
        with self._counting:
            ledgers = list(self._ledgers.values())
            live = [] if state is None else [p for p in state.plans.values() if p.decision.id not in self._withdrawn]
        return {
            "plans": len(live),
            "served": sum(ledger.num_served for ledger in ledgers),
            "default": sum(ledger.num_default for ledger in ledgers),
            "fallbacks": sum(ledger.num_fallbacks for ledger in ledgers),
            "gain_ms": sum(ledger.gain_ms for ledger in ledgers),
        }

    def look_up(self, text: bytes, values: Any) -> Statement | None:
        """Return what to send in a query's place; None for almost everything.

        Args:
            text: As it would be sent, with $1, $2, …
            values: Their Python values in that order.
        """
        state = self._state
        if state is None or not state.plans:
            return None
        bound = literals(values) if values else ()
        if bound is None:
            return None
        key = (text, bound)
        found = state.found.get(key, _NONE)
        if found is _NONE:
            assert self._dialect is not None
            found = recognised(
                state,
                text,
                bound,
                dialect=self._dialect,
                max_chars=self.config.max_text_chars,
                on_unfit=self._withdraw,
            )
            if len(state.found) >= REMEMBERED:
                state.found.clear()
            state.found[key] = found
        if found is None or found.plan.decision.id in self._withdrawn:
            return None
        return found  # type: ignore[no-any-return]

    def next_is_default(self, found: Statement) -> bool:
        """Whether this execution is to run untouched, to keep the comparison fresh."""
        with self._counting:
            return self._ledger(found).next_is_default()

    def served(self, found: Statement, latency_ms: float, num_rows: int | None) -> None:
        """Note a served execution."""
        with self._counting:
            reason = self._ledger(found).served(latency_ms)
        self._note(found, found.plan.decision.hints, latency_ms, False, num_rows, reason)

    def ran_untouched(self, found: Statement, latency_ms: float, num_rows: int | None) -> None:
        """Note an execution that ran untouched although its query is served."""
        with self._counting:
            reason = self._ledger(found).untouched(latency_ms)
        self._note(found, "", latency_ms, False, num_rows, reason)

    def fell_back(self, found: Statement, latency_ms: float, error: str, *, timed_out: bool) -> None:
        """Note a try that failed: its plan is withdrawn at once."""
        with self._counting:
            reason = self._ledger(found).fell_back(latency_ms, error)
        self._note(found, found.plan.decision.hints, latency_ms, timed_out, None, reason)

    def synchronise(self, *, schema: bool = False) -> None:
        """Write what was counted and read what was decided, now and in this thread.

        Args:
            schema: Whether to look at the schema, sizes and statistics too.
        """
        with self._working:
            if self._closed:
                return
            self._write()
            if schema:
                with closing(self._backend()) as backend:
                    self._look_at_schema(backend)
                    self._read_decisions(backend)
                    self._compare_plans(backend)
            else:
                self._read_decisions()
            self._write()

    def _note(
        self, found: Statement, hints: str, latency_ms: float, timed_out: bool, num_rows: int | None, reason: str
    ) -> None:
        decision = found.plan.decision
        self._executions.append(
            ExecutionEntry(
                decision.key, decision.database, hints, latency_ms, timed_out, num_rows, None, "serve", time.time()
            )
        )
        if reason:
            self._withdraw(found.plan, reason)

    def _withdraw(self, plan: ServedPlan, reason: str) -> None:
        decision = plan.decision
        with self._counting:
            if decision.id in self._withdrawn:
                return
            self._withdrawn.add(decision.id)
        _log.info("withdrawn: %s: %s", decision.key, reason)
        entry = DecisionEntry(
            decision.key, decision.database, "withdraw", decision.hints, reason, plan.measurement.id, time.time()
        )
        self._decisions.append((decision.id, entry))
        self._wake.set()

    def _ledger(self, found: Statement) -> Ledger:
        number = found.plan.decision.id
        if number not in self._ledgers:
            self._ledgers[number] = Ledger(found.plan, self.config)
        return self._ledgers[number]

    def _run(self) -> None:
        try:
            with self._working, closing(self._backend()) as backend:
                self._look_at_schema(backend)
                self._read_decisions(backend)
        except (SQLError, psycopg.Error) as error:
            self._failure = error
            self._close()
            self._ready.set()
            return
        self._ready.set()
        idle = 0
        while True:
            self._wake.wait(self.config.poll_s)
            self._wake.clear()
            # A connection is attached right after this is ready: one round without any is no sign yet.
            idle = 0 if any(not connection.closed for connection in self._connections) else idle + 1
            try:
                # Soon after the start too: `connect` does not wait for plans to be compared.
                due = self._look_due or self._compared is None
                self.synchronise(schema=due or time.monotonic() - self._looked_at > self.config.drift_s)
            except (SQLError, psycopg.Error) as error:
                _log.warning("the memory or the schema could not be read; what is served stays as it is: %s", error)
            if idle > 1 and self._let_go():
                return

    def _let_go(self) -> bool:
        with _opening:
            if any(not connection.closed for connection in self._connections):
                return False
            self._close()
            return True

    def _close(self) -> None:
        with self._working:
            if not self._closed:
                self._write()
                self._closed = True
                self._journal.close()

    def _backend(self) -> Postgres:
        return Postgres(self._look.model_copy(update={} if self._dialect is None else {"dialect": self._dialect.name}))

    def _look_at_schema(self, backend: Postgres) -> None:
        self._dialect, self.libraries = backend.hint_dialect, backend.libraries
        self._database = backend.identity
        catalog, version = backend.catalog(), backend.server_version
        self._looked_at, self._look_due = time.monotonic(), False
        note_catalog(self._journal, catalog)
        state = self._state
        if state is None or state.catalog != catalog or state.server_version != version:
            same = state is not None and state.catalog.version == catalog.version
            self._state = State(
                catalog, version, {}, {}, frozenset(), templates=state.templates if state is not None and same else {}
            )
            self._mark = (-1, -1)

    def _compare_plans(self, backend: Postgres) -> None:
        """Withdraw what was measured against other plans than the planner takes now, looked at where statistics are new."""
        assert self._state is not None
        catalog, version = self._state.catalog, self._state.server_version
        compared = {} if self._compared is None else self._compared
        for key, plan in self._state.plans.items():
            number, m = plan.decision.id, plan.measurement
            analyzed = [catalog.tables[name].analyzed for name in tables_of(m) if name in catalog.tables]
            if not m.ground or number in self._withdrawn or compared.get(number) == analyzed:
                continue
            query = parse_query(self._state.texts[key], catalog=catalog)
            drift = drift_of(query, self._journal, catalog, version, planner=backend)(m)
            if drift:
                self._withdraw(plan, f"{drift}: not served until it is verified again")
            compared[number] = analyzed
        self._compared = compared

    def _read_decisions(self, planner: Postgres | None = None) -> None:
        """Take over the decisions that hold, and withdraw those whose measurement no longer does.

        What was measured on another schema than is known here waits for the next look, when the planner can be asked.
        """
        assert self._state is not None
        mark = self._journal.decision_mark()
        if mark == self._mark and planner is None:
            return
        catalog, version = self._state.catalog, self._state.server_version
        plans: dict[str, ServedPlan] = {}
        texts: dict[str, str] = {}
        fingerprints = set()
        for key, decision in self._journal.served(self._database).items():
            entry = self._journal.query(key)
            if decision.action != "serve" or decision.id in self._withdrawn or entry is None:
                continue
            plan = plan_of(decision, self._journal.measurements(key=key, database=self._database), self.config)
            if plan is None:
                continue
            m = plan.measurement
            drift, here = growth(m, catalog), (catalog.version, version)
            if not drift and here not in ((m.catalog_version, m.server_version), self._held.get(decision.id)):
                if planner is None:
                    self._look_due = True
                    continue
                query = parse_query(entry.sql, catalog=catalog)
                drift = drift_of(query, self._journal, catalog, version, planner=planner)(m)
            if drift:
                self._withdraw(plan, f"{drift}: not served until it is verified again")
                continue
            self._held[decision.id] = here
            plans[key], texts[key] = plan, entry.sql
            fingerprints.add(entry.fingerprint)
        if plans != self._state.plans:
            self._state = State(
                catalog, version, plans, texts, frozenset(fingerprints), templates=self._state.templates
            )
        self._mark = mark

    def _write(self) -> None:
        """Write what was counted, and withdraw in the journal what nobody has decided on since."""
        count = len(self._executions)
        if count:
            entries = [self._executions[i] for i in range(count)]
            known = {key for key in {entry.key for entry in entries} if self._journal.query(key) is not None}
            self._journal.add_executions([entry for entry in entries if entry.key in known])
            for _ in range(count):
                self._executions.popleft()
        while self._decisions:
            number, entry = self._decisions[0]
            holding = self._journal.decisions(key=entry.key, database=entry.database)
            if holding and holding[-1].id == number:
                self._journal.decide(entry)
            self._decisions.popleft()


_opening = threading.Lock()
_open: dict[tuple[int, Path, ServingConfig, str], Serving] = {}


def serving_of(path: str | Path, config: ServingConfig, dsn: str) -> Serving:
    """Return what serves a journal to a database in this process, started where it is not there.

    Raises:
        MemoryFileError: The journal cannot be opened.
    """
    key = (os.getpid(), Path(path).expanduser().resolve(), config, dsn)
    with _opening:
        found = _open.get(key)
        if found is None or found._closed:
            found = _open[key] = Serving(key[1], config, dsn)
    return found


def _finish() -> None:
    for (pid, *_), serving in list(_open.items()):
        if pid == os.getpid():
            try:
                serving._close()
            except SQLError as error:
                _log.warning("what was counted last could not be written: %s", error)


atexit.register(_finish)
