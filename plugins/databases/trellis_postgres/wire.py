"""One connection, one statement at a time, over the extended protocol and nothing else.

The simple protocol takes several statements in one message: a text `… ; COMMIT; CREATE TABLE …` leaves a read-only transaction
and writes. The extended one refuses it: "cannot insert multiple commands into a prepared statement". psycopg chooses between the
two by itself, so statements go through libpq here, by `PQsendQueryParams` alone.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq

from trellis.errors import ConnectionLostError, DatabaseError
from trellis.sql.digest import RowDigest

CANCELLED = "57014"
_LOST = frozenset({"57P01", "57P02", "57P03"})
_CHUNK_ROWS = 1000
_HASHED_AT_ONCE = 100_000
_ANSWERS = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK})
_COPIES = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})
_PARTS = frozenset({pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_CHUNK})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement returned.

    Attributes:
        columns: The names of its columns.
        rows: Its rows as the server's text; none where a digest took them.
        latency_ms: From sending the statement to holding its last row.
    """

    columns: tuple[bytes, ...]
    rows: list[tuple[bytes | None, ...]]
    latency_ms: float


class Wire:
    """A connection to a server.

    Attributes:
        notices: What the server said beside its answers, oldest first; whoever reads them empties the list.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._libpq.socket, selectors.EVENT_READ)
        self.notices: list[str] = []
        connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))

    @property
    def server_version(self) -> int:
        """The server's version, e.g. 180004."""
        return self._libpq.server_version

    @property
    def is_open(self) -> bool:
        """Whether statements can still be sent."""
        return not self._connection.closed

    def close(self) -> None:
        """Give the connection up; may be called again."""
        self._selector.close()
        self._connection.close()

    def run(
        self, sql: str, parameters: Sequence[str] = (), *, limit_ms: float, digest: RowDigest | None = None
    ) -> Answer:
        """Send one statement and wait for its end.

        Args:
            sql: The statement.
            parameters: The values of $1, $2, …
            limit_ms: After so long without an answer the connection is given up: a server that keeps its own time-outs
                answers before.
            digest: Takes the rows as they come; without it they are returned. Of more than 100,000 rows the time of hashing
                counts towards the latency, since not all are held at once.

        Raises:
            ConnectionLostError: The connection is gone.
            DatabaseError: Anything else that the server says; the connection can be used again.
        """
        try:
            return self._run(sql, parameters, limit_ms, digest)
        except DatabaseError as error:
            if isinstance(error, ConnectionLostError):
                self.close()
            raise
        except psycopg.Error as error:
            self.close()
            raise ConnectionLostError(f"the connection was lost: {_one_line(str(error))}") from None
        except BaseException:
            # An interrupt leaves a statement running whose answer nobody will read.
            with contextlib.suppress(psycopg.Error):
                self._libpq.get_cancel().cancel()
            self.close()
            raise

    def _run(self, sql: str, parameters: Sequence[str], limit_ms: float, digest: RowDigest | None) -> Answer:
        started = time.perf_counter()
        deadline = started + limit_ms / 1000
        self._libpq.send_query_params(sql.encode(), [value.encode() for value in parameters])
        if digest is not None:
            self._in_parts()
        while self._libpq.flush():
            self._wait(selectors.EVENT_READ | selectors.EVENT_WRITE, deadline)
        parts: list[pq.abc.PGresult] = []
        waiting = 0
        columns: tuple[bytes, ...] = ()
        failure: DatabaseError | None = None
        while (part := self._next_result(deadline)) is not None:
            if part.status in _ANSWERS or part.status in _PARTS:
                columns = columns or tuple(part.fname(column) or b"" for column in range(part.nfields))
                parts.append(part)
                waiting += part.ntuples
                if digest is not None and waiting >= _HASHED_AT_ONCE:
                    _digest(parts, digest)
                    waiting = 0
            elif part.status in _COPIES:
                self.close()
                raise DatabaseError("a COPY was begun, which this connection does not take part in; send a SELECT")
            else:
                failure = failure or _failure(part)
        latency_ms = (time.perf_counter() - started) * 1000
        if failure is not None:
            raise failure
        if digest is not None:
            _digest(parts, digest)
            parts = []
        return Answer(columns, [row for part in parts for row in _rows(part)], latency_ms)

    def _in_parts(self) -> None:
        # Libraries before version 17 give rows one by one only, which costs more of the client's time.
        if pq.version() >= 170000:
            self._libpq.set_chunked_rows_mode(_CHUNK_ROWS)
        else:
            self._libpq.set_single_row_mode()

    def _next_result(self, deadline: float) -> pq.abc.PGresult | None:
        while self._libpq.is_busy():
            self._wait(selectors.EVENT_READ, deadline)
        return self._libpq.get_result()

    def _wait(self, events: int, deadline: float) -> None:
        self._selector.modify(self._libpq.socket, events)
        ready = self._selector.select(max(0.0, deadline - time.perf_counter()))
        if not ready:
            with contextlib.suppress(psycopg.Error):
                self._libpq.get_cancel().cancel()
            raise ConnectionLostError("the server did not answer in time, and not to its own time-out either")
        if ready[0][1] & selectors.EVENT_READ:
            self._libpq.consume_input()


def _rows(part: pq.abc.PGresult) -> list[tuple[bytes | None, ...]]:
    columns = range(part.nfields)
    return [tuple(part.get_value(row, column) for column in columns) for row in range(part.ntuples)]


def _digest(parts: list[pq.abc.PGresult], digest: RowDigest) -> None:
    for part in parts:
        for row in _rows(part):
            digest.add(row)
    parts.clear()


def _failure(part: pq.abc.PGresult) -> DatabaseError:
    def text(field: pq.DiagnosticField) -> str:
        return (part.error_field(field) or b"").decode("utf-8", "replace")

    sqlstate = text(pq.DiagnosticField.SQLSTATE) or None
    said = [text(pq.DiagnosticField.MESSAGE_PRIMARY), text(pq.DiagnosticField.MESSAGE_DETAIL)]
    message = _one_line(": ".join(each for each in said if each) or part.error_message.decode("utf-8", "replace"))
    if sqlstate is None or sqlstate in _LOST or sqlstate.startswith("08"):
        return ConnectionLostError(f"the server went away: {message}", sqlstate=sqlstate)
    return DatabaseError(f"PostgreSQL says: {message} (SQLSTATE {sqlstate})", sqlstate=sqlstate)


def _one_line(text: str) -> str:
    return " ".join(text.split())
