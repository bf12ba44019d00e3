"""One plan measured again, and what that decides: for what is served, was withdrawn, or is served on another database."""

from __future__ import annotations

import time
from typing import NamedTuple

from trellis.contracts import DatabaseBackend, Execution
from trellis.errors import SQLError
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import measure
from trellis.memory.drift import drift_of
from trellis.memory.journal import Action, DecisionEntry, ExecutionEntry, Journal, QueryEntry
from trellis.memory.recording import entry_of
from trellis.memory.serving import ServingConfig, decide, speedup_text
from trellis.sql.grammar import parse_hints


class Verified(NamedTuple):
    """What holds of a query now, and why."""

    now: Action
    reason: str


def verify(
    journal: Journal,
    backend: DatabaseBackend,
    entry: QueryEntry,
    hints: str,
    *,
    config: MeasureConfig,
    serving: ServingConfig | None = None,
) -> Verified:
    """Measure a query's hints in pairs, note it, decide, and return what holds now.

    Args:
        journal: Gets executions, the measurement and the decision.
        backend: Where it is measured and decided for.
        entry: The query.
        hints: As the journal has them.
        config: The protocol.
        serving: The rules; the defaults when left out.
    """
    rules, database = serving or ServingConfig(), backend.identity
    decisions = journal.decisions(key=entry.key, database=database)
    held: Action = decisions[-1].action if decisions else "keep default"

    def note(variant: str, e: Execution) -> None:
        run = (hints if variant == "again" else "", e.latency_ms, e.timed_out, e.num_rows, e.digest, "verify")
        journal.add_execution(ExecutionEntry(entry.key, database, *run))

    try:
        query = backend.parse(entry.sql)
        measured = measure(backend, query, {"again": parse_hints(hints)}, config, on_execution=note)
    except SQLError as error:
        reason = f"it cannot be measured any more: {error}"
        if held == "serve":
            journal.decide(DecisionEntry(entry.key, database, "withdraw", hints, reason))
            held = "withdraw"
        return Verified(held, reason)
    made = entry_of(measured, "again", key=entry.key, hints=hints, source="verify", backend=backend, at=time.time())
    journal.add_measurement(made)
    new = decide(
        entry.key,
        database,
        journal.measurements(key=entry.key, database=database),
        decisions,
        drift=drift_of(query, journal, backend.catalog(), backend.server_version, planner=backend),
        config=rules,
    )
    if new is not None:
        journal.decide(new)
        return Verified(new.action, new.reason)
    return Verified(held, made.reason or speedup_text(made))
