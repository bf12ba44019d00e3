"""The store with an index: hierarchical navigable small worlds (Malkov and Yashunin 2018, arXiv:1603.09320), as pgvector has it.

A query that the index answers with fewer than k records, because the condition holds for few or because it does not hold
vectors of zeros, is answered by comparing with all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from trellis.contracts.store import Match
from trellis.types import JSON
from trellis_pgvector.config import HNSWConfig
from trellis_pgvector.store import PgVector, read_matches, write_condition


class HNSW(PgVector):
    """A store with an index, that may miss a neighbour; made and closed as `PgVector` is."""

    Config = HNSWConfig
    config: HNSWConfig

    def clear(self) -> None:
        """Forget all records and the index; vectors of another length may come next."""
        with self._transaction() as connection:
            connection.execute(self._sql("TRUNCATE {table}"))
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(self._index(qualified=True)))

    def _prepare(self, connection: psycopg.Connection[tuple[Any, ...]], length: int) -> None:
        connection.execute(
            sql.SQL(
                "CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw ((vector::vector({length})) vector_cosine_ops) "
                "WITH (m = {m}, ef_construction = {ef})"
            ).format(
                index=self._index(qualified=False),
                table=self._table,
                length=sql.Literal(length),
                m=sql.Literal(self.config.m),
                ef=sql.Literal(self.config.ef_construction),
            )
        )

    def _nearest(
        self, connection: psycopg.Connection[tuple[Any, ...]], asked: str, k: int, where: Mapping[str, JSON]
    ) -> list[Match]:
        condition, values = write_condition(where)
        length = sql.Literal(self._length(connection))
        connection.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(self.config.ef_search)))
        connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        statement = sql.SQL(
            "SELECT id, vector::text, data::text, vector::vector({length}) <=> %(q)s::vector({length}) AS distance FROM {table} "
            "WHERE {condition} AND vector_norm(vector) > 0 ORDER BY vector::vector({length}) <=> %(q)s::vector({length}) "
            "LIMIT %(k)s"
        ).format(length=length, table=self._table, condition=condition)
        found = read_matches(connection.execute(statement, {"q": asked, "k": k, **values}).fetchall())
        return found if len(found) == k else super()._nearest(connection, asked, k, where)

    def _index(self, *, qualified: bool) -> sql.Identifier:
        *schema, table = self.config.table.split(".")
        return sql.Identifier(*(schema if qualified else ()), f"{table[:50]}_hnsw")
