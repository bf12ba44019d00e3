"""Entries to fill a journal with."""

from trellis.memory.journal import DecisionEntry, ExecutionEntry, MeasurementEntry, query_key
from trellis.sql.reader import parse_query

HINTS = "/*+ Leading((a b)) */"


def query(number):
    return parse_query(f"SELECT count(*) FROM a, b WHERE a.id = b.a AND b.v > {number}")


def measurement(number, *, database="shop", judgement="faster", speedup=2.0, hints=HINTS, key=None):
    return MeasurementEntry(
        key or query_key(query(number)), database, hints, judgement, speedup, 1.5, 2.5, 100.0, 100.0 / (speedup or 1), 12,
        "digest", "random", "catalog-1", 180004, 1.0,
    )  # fmt: skip


def execution(number, *, database="shop", latency_ms=10.0):
    return ExecutionEntry(query_key(query(number)), database, "", latency_ms, False, 3, "digest", "explore", 1.0)


def decision(number, action, *, database="shop", measurement=None, hints=HINTS):
    return DecisionEntry(query_key(query(number)), database, action, hints, "a reason", measurement, 1.0)
