"""psycopg connections whose cursors serve verified plans; everything else is psycopg's own.

    connection = Connection.connect("postgresql://app@db/shop", memory="shop.db")
    ConnectionPool(dsn, connection_class=Connection, kwargs={"memory": "shop.db"})

Untouched: COPY, server-side cursors, `stream`, pipelines, `executemany`, `prepare=True`, everything that is not one known SELECT,
and parameters that have no plain literal. Row factories, binary results, and client-side and raw cursors work as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import psycopg
from psycopg import pq
from psycopg._queries import PostgresClientQuery
from psycopg.abc import AdaptContext, ConnParam, PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.cursor import Cursor
from psycopg.cursor_async import AsyncCursor
from psycopg.generators import execute
from psycopg.rows import AsyncRowFactory, Row, RowFactory

from trellis.errors import DatabaseError
from trellis.memory.serving import ServingConfig
from trellis_postgres.serving.guard import guarded
from trellis_postgres.serving.plans import Serving, serving_of

if TYPE_CHECKING:
    from psycopg._cursor_base import BaseCursor

    _Base = BaseCursor[Any, Any]
else:
    _Base = object

_ELSEWHERE: Any = object()


class ServingCursor(_Base):
    """What is put in front of a cursor class."""

    _given: Any = _ELSEWHERE

    def _execute_gen(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        self._given = params
        try:
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)
        finally:
            self._given = _ELSEWHERE

    def _maybe_prepare_gen(self, pgq: Any, *, prepare: bool | None = None, binary: bool | None = None) -> PQGen[None]:
        connection = self._conn
        serving = cast("Serving | None", connection._serving)
        found = None
        # `_given` is not set by executemany, which has its own way here.
        if serving is not None and self._given is not _ELSEWHERE and not prepare and connection._pipeline is None:
            values = _values(pgq, self._given)
            found = None if values is None else serving.look_up(bytes(pgq.query), values)
        if found is None or serving is None:
            yield from super()._maybe_prepare_gen(pgq, prepare=prepare, binary=binary)
            return
        untouched = super()._maybe_prepare_gen
        yield from guarded(
            self, pgq, found, serving, binary=binary, untouched=lambda: untouched(pgq, prepare=prepare, binary=binary)
        )


class Connection(psycopg.Connection[Row]):
    """A psycopg connection that serves what a journal's decisions say."""

    _serving: Serving | None = None
    _factory: Any = None

    @classmethod
    def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        memory: str | Path,
        serving: ServingConfig | Mapping[str, Any] | None = None,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: RowFactory[Row] | None = None,
        cursor_factory: type[Cursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect as psycopg does.

        Args:
            conninfo: The server.
            memory: The journal, made if it is not there.
            serving: The rules, or their fields.
            autocommit: As psycopg has it.
            prepare_threshold: As psycopg has it.
            context: As psycopg has it.
            row_factory: As psycopg has it.
            cursor_factory: As psycopg has it; its queries are served too.
            kwargs: Parts of `conninfo`, as psycopg takes them.

        Raises:
            MemoryFileError: The journal cannot be used.
            DatabaseError: The schema cannot be read.
            psycopg.Error: The server cannot be reached.
        """
        connection = super().connect(
            conninfo,
            autocommit=autocommit,
            prepare_threshold=prepare_threshold,
            context=context,
            row_factory=row_factory,
            cursor_factory=cursor_factory,
            **kwargs,
        )
        try:
            shared = serving_of(memory, _config(serving), _dsn(conninfo, kwargs))
            shared.attach(connection)
            shared.wait_ready()
            connection.wait(_load(connection.pgconn, shared.libraries))
        except BaseException:
            connection.close()
            raise
        connection._serving = shared
        return connection

    @property
    def serving(self) -> Serving:
        """What its process serves: counts, and `synchronise` for those who cannot wait a second."""
        return _attached(self._serving)

    @property
    def cursor_factory(self) -> Any:
        """What makes cursors."""
        return self._factory

    @cursor_factory.setter
    def cursor_factory(self, factory: Any) -> None:
        self._factory = _served(factory)


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """As `Connection`, for asyncio."""

    _serving: Serving | None = None
    _factory: Any = None

    @classmethod
    async def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        memory: str | Path,
        serving: ServingConfig | Mapping[str, Any] | None = None,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect as psycopg does; the arguments and errors are those of `Connection.connect`."""
        connection = await super().connect(
            conninfo,
            autocommit=autocommit,
            prepare_threshold=prepare_threshold,
            context=context,
            row_factory=row_factory,
            cursor_factory=cursor_factory,
            **kwargs,
        )
        try:
            shared = await asyncio.to_thread(serving_of, memory, _config(serving), _dsn(conninfo, kwargs))
            shared.attach(connection)
            await asyncio.to_thread(shared.wait_ready)
            await connection.wait(_load(connection.pgconn, shared.libraries))
        except BaseException:
            await connection.close()
            raise
        connection._serving = shared
        return connection

    @property
    def serving(self) -> Serving:
        """What its process serves."""
        return _attached(self._serving)

    @property
    def cursor_factory(self) -> Any:
        """What makes cursors."""
        return self._factory

    @cursor_factory.setter
    def cursor_factory(self, factory: Any) -> None:
        self._factory = _served(factory)


@lru_cache(maxsize=64)
def _served(factory: Any) -> Any:
    """Return a cursor class that serves; what is no class of psycopg's cursors stays as it is."""
    if not isinstance(factory, type) or not issubclass(factory, Cursor | AsyncCursor):
        return factory
    return (
        factory
        if issubclass(factory, ServingCursor)
        else type(f"Served{factory.__name__}", (ServingCursor, factory), {})
    )


def _values(query: Any, given: Any) -> Sequence[Any] | None:
    """Return a query's parameters in the order of $1, $2, …; None where that cannot be told."""
    if isinstance(query, PostgresClientQuery):
        return ()  # they stand in its text already
    if not query.params:
        return ()
    if query.formats is None or given is None:
        return None
    if isinstance(given, Mapping):
        return None if query._order is None else [given[name] for name in query._order]
    values = list(given)
    return values if len(values) == len(query.params) else None


def _config(given: ServingConfig | Mapping[str, Any] | None) -> ServingConfig:
    return given if isinstance(given, ServingConfig) else ServingConfig.model_validate(dict(given or {}))


def _dsn(conninfo: str, more: Mapping[str, Any]) -> str:
    return make_conninfo("", **conninfo_to_dict(conninfo, **more))


def _attached(serving: Serving | None) -> Serving:
    if serving is None:
        raise DatabaseError("this connection was not made by `connect`, so it serves nothing")
    return serving


def _load(pgconn: Any, libraries: Sequence[str]) -> PQGen[None]:
    for library in libraries:
        pgconn.send_query(f"LOAD '{library}'".encode())
        for result in (yield from execute(pgconn)):
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
