"""Statements one after the other, each in a read-only transaction of its own that is rolled back.

    BEGIN READ ONLY; set_config(every setting, local); the statement; ROLLBACK

Time-outs, search path, role and planner settings are set anew before every statement, and the ROLLBACK takes back whatever a
statement could have set, so that none sees what another did.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import psycopg

from trellis.errors import ConnectionLostError, DatabaseError, QueryTimeoutError
from trellis.sql.digest import RowDigest
from trellis_postgres.config import PostgresConfig
from trellis_postgres.wire import CANCELLED, Answer, Wire

_HOUSEKEEPING_MS = 30_000.0
_GRACE_MS = 10_000.0
_ROLLBACKS = 5
_RIGHTS = """
SELECT current_user,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_roles
               WHERE rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
                 AND pg_catalog.pg_has_role(current_user, oid, 'USAGE'))
"""


class Session:
    """One connection that is made when first used, and again when the server went away."""

    def __init__(self, address: Callable[[], str], config: PostgresConfig, *, libraries: Sequence[str] = ()) -> None:
        """Prepare a session.

        Args:
            address: Returns the DSN, after starting the server if that is ours to do.
            config: Settings, role, time-outs.
            libraries: Modules that the server loads for the connection.
        """
        self._address = address
        self._config = config
        self._libraries = tuple(libraries)
        self._wire: Wire | None = None
        self._was_connected = False
        self._lock = threading.Lock()
        self.notices: tuple[str, ...] = ()

    def run(
        self,
        sql: str,
        parameters: Sequence[str] = (),
        *,
        settings: Mapping[str, str] | None = None,
        timeout_ms: float,
        digest: RowDigest | None = None,
    ) -> Answer:
        """Run one statement; what the server said beside its answer is in `notices` afterwards.

        Args:
            sql: The statement.
            parameters: The values of $1, $2, …
            settings: For this statement, beside those of every statement.
            timeout_ms: After which the server stops it, at least 1.
            digest: Takes the rows as they come; without it they are returned.

        Raises:
            QueryTimeoutError: It was stopped.
            ConnectionLostError: The server went away; the next call connects anew.
            DatabaseError: Anything else that the server says, now or when connecting.
        """
        if not (math.isfinite(timeout_ms) and timeout_ms > 0):
            raise ValueError(f"a time-out is a positive number of milliseconds, not {timeout_ms}")
        with self._lock:
            wire = self._connected()
            wire.notices.clear()
            started = time.perf_counter()
            try:
                self._begin(wire, settings or {}, timeout_ms)
                started = time.perf_counter()
                return wire.run(sql, parameters, limit_ms=timeout_ms + _GRACE_MS, digest=digest)
            except DatabaseError as error:
                # The server's own time-out never comes early; what comes early was asked for by somebody else.
                elapsed_ms = (time.perf_counter() - started) * 1000
                if error.sqlstate == CANCELLED and elapsed_ms >= timeout_ms - 1:
                    raise QueryTimeoutError(timeout_ms) from None
                raise
            finally:
                self.notices = tuple(wire.notices)
                self._roll_back(wire)

    def server_version(self) -> int:
        """Return the server's version, e.g. 180004."""
        with self._lock:
            return self._connected().server_version

    @property
    def libraries(self) -> tuple[str, ...]:
        """Modules that the server loads for the connection."""
        return self._libraries

    def close(self) -> None:
        """Give the connection up; may be called again, and a later call connects anew."""
        with self._lock:
            self._drop()

    def _begin(self, wire: Wire, settings: Mapping[str, str], timeout_ms: float) -> None:
        wire.run("BEGIN TRANSACTION READ ONLY", limit_ms=_HOUSEKEEPING_MS)
        values: dict[str, str] = {
            "standard_conforming_strings": "on",
            "extra_float_digits": str(self._config.extra_float_digits),
            "datestyle": "ISO, YMD",
            "intervalstyle": "postgres",
            "bytea_output": "hex",
            **self._config.settings,
            **settings,
            "lock_timeout": str(math.ceil(self._config.lock_timeout_ms)),
            "statement_timeout": str(math.ceil(timeout_ms)),
        }
        if self._config.search_path is not None:
            values["search_path"] = self._config.search_path
        if self._config.role is not None:
            values["role"] = self._config.role  # the last: what comes after it would be set with its rights alone
        calls = ", ".join(f"pg_catalog.set_config(${2 * n + 1}, ${2 * n + 2}, true)" for n in range(len(values)))
        pairs = [text for pair in values.items() for text in pair]
        wire.run(f"SELECT {calls}", pairs, limit_ms=_HOUSEKEEPING_MS)

    def _roll_back(self, wire: Wire) -> None:
        # A time-out of a few milliseconds can cancel the ROLLBACK as well; without a connection nothing is left to undo.
        for _ in range(_ROLLBACKS):
            if not wire.is_open:
                break
            with contextlib.suppress(DatabaseError):
                wire.run("ROLLBACK", limit_ms=_HOUSEKEEPING_MS)
                return
        self._drop()

    def _connected(self) -> Wire:
        if self._wire is not None and self._wire.is_open:
            return self._wire
        self._drop()
        deadline = time.perf_counter() + self._config.connect_timeout_ms / 1000
        delay_s = 0.05
        while True:
            try:
                wire = self._connect()
                break
            except (psycopg.OperationalError, ConnectionLostError) as error:
                # A server that has answered before is worth waiting for; a wrong address or password is not.
                if not self._was_connected or time.perf_counter() + delay_s > deadline:
                    raise _no_connection(error) from None
            except psycopg.Error as error:
                raise _no_connection(error) from None
            time.sleep(delay_s)
            delay_s = min(2 * delay_s, 2.0)
        self._wire, self._was_connected = wire, True
        return wire

    def _connect(self) -> Wire:
        wire = Wire(
            psycopg.connect(
                self._address(),
                autocommit=True,
                application_name=self._config.application_name,
                client_encoding="UTF8",
                connect_timeout=max(2, math.ceil(self._config.connect_timeout_ms / 1000)),
            )
        )
        try:
            wire.run("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", limit_ms=_HOUSEKEEPING_MS)
            for library in self._libraries:
                wire.run(f"LOAD '{library}'", limit_ms=_HOUSEKEEPING_MS)
            self._begin(wire, {}, _HOUSEKEEPING_MS)
            ((user, has_rights),) = wire.run(_RIGHTS, limit_ms=_HOUSEKEEPING_MS).rows
            wire.run("ROLLBACK", limit_ms=_HOUSEKEEPING_MS)
            if has_rights == b"t" and not self._config.allow_privileged:
                raise DatabaseError(
                    f"statements would run as {(user or b'').decode()}, a superuser or a role that reads the server's files. "
                    "Make a role that may only read (`trellis sql setup`) and name it in the DSN or as `role`; or set "
                    "`allow_privileged`."
                )
        except BaseException:
            wire.close()
            raise
        return wire

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


def _no_connection(error: Exception) -> DatabaseError:
    said = " ".join(str(error).split())
    return ConnectionLostError(
        f"cannot connect: {said}. Check the DSN, and that the server runs and accepts connections."
    )
