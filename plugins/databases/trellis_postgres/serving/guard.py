"""The hinted try: everything it sets is taken back, and where it fails the untouched query is run.

    in a transaction       SAVEPOINT; SET LOCAL …; the hinted statement; ROLLBACK TO SAVEPOINT; RELEASE
    outside of one         BEGIN;     SET LOCAL …; the hinted statement; COMMIT

A SELECT that was checked to only read leaves nothing behind, so that rolling back to the savepoint loses nothing and gives every
setting its value back, the user's own SET LOCAL included (RELEASE alone would keep ours). The result is already with the client.

The time-out is the plan's own or the user's, whichever is shorter; the untouched query has the user's alone. What the user
cancels is not run again: the server says the same of a time-out and a cancellation, but the former never comes early.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psycopg import errors, pq
from psycopg.abc import PQGen
from psycopg.generators import execute

from trellis_postgres.wire import CANCELLED

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from trellis_postgres.serving.plans import Serving
    from trellis_postgres.serving.state import Statement

_SAVEPOINT = b'"trellis serving"'
_ATTEMPTS = 5
_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)
_UNIT_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)(ms|s|min|h|d)?")


def own_timeout_ms(shown: bytes) -> float:
    """Return what SHOW says of a time-out in milliseconds; infinite where there is none."""
    match = _DURATION.fullmatch(shown.decode())
    assert match is not None, shown
    return int(match[1]) * _UNIT_MS[match[2] or "ms"] or float("inf")


def guarded(
    cursor: Any,
    asked: Any,
    found: Statement,
    serving: Serving,
    *,
    binary: bool | None,
    untouched: Callable[[], PQGen[None]],
) -> PQGen[None]:
    """Serve a query that is recognised, or run it untouched: now and then to keep the comparison, and where the try fails.

    Args:
        cursor: Takes the result.
        asked: psycopg's own record of the query and its parameters.
        found: What to send instead.
        serving: Is told how it went.
        binary: As the user asked for it.
        untouched: Runs the query as the user sent it.
    """
    pgconn = cursor._pgconn
    status = pgconn.transaction_status
    if status not in (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS):
        yield from untouched()
        return
    if serving.next_is_default(found):
        started = time.perf_counter()
        yield from untouched()
        serving.ran_untouched(found, (time.perf_counter() - started) * 1000, _num_rows(cursor))
        return
    inside = status == pq.TransactionStatus.INTRANS
    begun = time.perf_counter()
    latency_ms, timeout_ms = 0.0, float("inf")
    results: list[PGresult] = []
    begin = b"SAVEPOINT " + _SAVEPOINT if inside else b"BEGIN"
    pgconn.send_query(begin + b"; " + found.settings)
    answers = yield from execute(pgconn)
    failed = _failure(answers)
    if failed is None:
        own_ms = own_timeout_ms(next(each.get_value(0, 0) for each in answers if each.nfields))
        timeout_ms = found.plan.timeout_ms
        if own_ms < timeout_ms:
            started = time.perf_counter()
            pgconn.send_query(b"SET LOCAL statement_timeout = %d" % own_ms)
            failed = _failure((yield from execute(pgconn)))
            latency_ms = (time.perf_counter() - started) * 1000
    if failed is None:
        timeout_ms = min(timeout_ms, own_ms)
        # Before it is sent: the server's clock must not run ahead of ours, or its time-out would pass for a cancellation.
        started = time.perf_counter()
        cursor._execute_send(_hinted(cursor, asked, found.sql), force_extended=True, binary=binary)
        results = yield from execute(pgconn)
        latency_ms = (time.perf_counter() - started) * 1000
        failed = _failure(results)
        cursor._query = asked
    if failed is None:
        yield from _end(pgconn, inside=inside, good=True)
        cursor._check_results(results)
        cursor._set_results(results)
        serving.served(found, latency_ms, _num_rows(cursor))
        return
    error = errors.error_from_result(failed, encoding=cursor._encoding)
    if pgconn.status != pq.ConnStatus.OK:
        raise error
    stopped = error.sqlstate == CANCELLED
    if stopped and latency_ms < timeout_ms - 1:
        # The user's: a transaction of theirs is aborted by it, as it would be without us.
        if not inside:
            yield from _end(pgconn, inside=False, good=False)
        raise error
    latency_ms = (time.perf_counter() - begun) * 1000
    yield from _end(pgconn, inside=inside, good=False)
    serving.fell_back(found, latency_ms, "" if stopped else " ".join(str(error).split()), timed_out=stopped)
    yield from untouched()


def _end(pgconn: Any, *, inside: bool, good: bool) -> PQGen[None]:
    """Take everything back that the try has set.

    Raises:
        OperationalError: The server would not; the connection is closed, because it is in a state that nobody knows.
    """
    back = b"ROLLBACK TO SAVEPOINT " + _SAVEPOINT + b"; RELEASE SAVEPOINT " + _SAVEPOINT
    wanted = pq.TransactionStatus.INTRANS if inside else pq.TransactionStatus.IDLE
    for _ in range(_ATTEMPTS):
        pgconn.send_query(back if inside else b"COMMIT" if good else b"ROLLBACK")
        results = yield from execute(pgconn)
        # The try's time-out counts for these statements too, and may cancel one on a machine under load.
        if _failure(results) is None and pgconn.transaction_status == wanted:
            return
        good = False
    pgconn.finish()
    raise errors.OperationalError("the settings of a served plan could not be taken back: the connection is closed")


def _hinted(cursor: Any, asked: Any, sql: bytes) -> Any:
    """Return psycopg's record of a query with another text and the same parameters."""
    query = type(asked)(cursor._tx)
    query.query, query.params, query.types, query.formats = sql, asked.params, asked.types, asked.formats
    return query


def _failure(results: list[PGresult]) -> PGresult | None:
    return next((each for each in results if each.status in _FAILED), None)


def _num_rows(cursor: Any) -> int | None:
    return None if cursor.pgresult is None else int(cursor.pgresult.ntuples)
