"""A measurement as the journal keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trellis.memory.drift import ground_of
from trellis.memory.journal import MeasurementEntry

if TYPE_CHECKING:
    from trellis.contracts import DatabaseBackend
    from trellis.measuring.measure import Measurement


def entry_of(
    measurement: Measurement, variant: str, *, key: str, hints: str, source: str, backend: DatabaseBackend, at: float
) -> MeasurementEntry:
    """Return one variant of a measurement as an entry.

    Args:
        measurement: As `trellis.measuring` returned it.
        variant: Its name there.
        key: The query's.
        hints: The variant's, as text.
        source: Who proposed them.
        backend: Where it was measured.
        at: When, in seconds since 1970.
    """
    result, default = measurement.variants[variant], measurement.default
    speedup = result.speedup
    known = 1.0 if speedup is None else speedup.value
    if result.judgement in ("failed", "wrong result"):
        known = 0.0
    elif speedup is None and result.stopped_ms is not None and default.median_ms is not None:
        # It never ended: what it could have reached at most.
        known = default.median_ms / result.stopped_ms
    return MeasurementEntry(
        key,
        backend.identity,
        hints,
        result.judgement,
        known,
        None if speedup is None else speedup.low,
        None if speedup is None else speedup.high,
        default.median_ms,
        result.median_ms,
        len(result.latencies_ms),
        result.digest,
        source,
        backend.catalog().version,
        backend.server_version,
        at,
        reason=result.reason,
        ground=ground_of(
            measurement.query,
            backend.catalog(),
            default=default.plan,
            plan=result.plan,
            settings=backend.settings,
        ),
    )
