"""Database backends with one fault each."""

import contextlib
import hashlib
import itertools
from dataclasses import replace

from faults import breaks

from trellis.contracts.database import NO_HINTS, Execution, HintedStatement
from trellis.errors import DatabaseError, HintError, QueryTimeoutError
from trellis.sql.hints import Leading
from trellis_duckdb.backend import DuckDB

ORDER = frozenset({"join-order"})
SIDES = frozenset({"join-order", "join-side"})


@breaks("parse-keeps-the-text", "database", capabilities=SIDES)
class ParsesAnotherText(DuckDB):
    def parse(self, sql):
        return super().parse(sql.replace("count(*)", "count(1)"))


@breaks("parse-refuses-what-is-not-one-select", "database", capabilities=SIDES)
class ReadsWhatItCan(DuckDB):
    def parse(self, sql):
        return super().parse("SELECT 1" if sql.startswith("DELETE") else sql)


@breaks("what-is-executed-is-checked", "database", capabilities=SIDES)
class ExecutesAnything(DuckDB):
    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        if "CREATE" in query.sql:
            self.connection.execute(query.sql)
            return Execution(1.0, num_rows=0, digest="")
        return super().execute(query, hints, timeout_ms=timeout_ms)


@breaks("no-hints-send-the-query-itself", "database", capabilities=SIDES)
class AlwaysSetsSomething(DuckDB):
    def hinted(self, query, hints=NO_HINTS):
        statement = super().hinted(query, hints)
        return statement if hints else replace(statement, settings={"preserve_insertion_order": "true"})


@breaks("hints-that-do-not-fit-are-refused", "database", capabilities=SIDES)
class IgnoresWhatDoesNotFit(DuckDB):
    def hinted(self, query, hints=NO_HINTS):
        try:
            return super().hinted(query, hints)
        except HintError as error:
            return HintedStatement(query.sql, {}, {str(hint): str(error) for hint in hints})


@breaks("what-cannot-be-asked-for-is-said", "database", capabilities=SIDES)
class DropsHintsInSilence(DuckDB):
    def hinted(self, query, hints=NO_HINTS):
        return replace(super().hinted(query, hints), untouched={})


@breaks("results-do-not-depend-on-hints", "database", capabilities=SIDES)
class HintsChangeTheResult(DuckDB):
    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        execution = super().execute(query, hints, timeout_ms=timeout_ms)
        return replace(execution, digest="hinted") if hints else execution


class OwnDigest(DuckDB):
    """Hashes the rows in its own way."""

    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        execution = super().execute(query, hints, timeout_ms=timeout_ms)
        if execution.timed_out:
            return execution
        cursor = self.connection.cursor()
        rows = cursor.execute(query.sql).fetchall()
        names = [column[0] for column in cursor.description]
        cursor.close()
        return replace(execution, digest=hashlib.sha256(repr((names, self.seen(rows))).encode()).hexdigest())


@breaks("digests-ignore-the-order-of-rows", "database", capabilities=SIDES)
class HashesRowsInOrder(OwnDigest):
    def seen(self, rows):
        return rows


@breaks("digests-tell-results-apart", "database", capabilities=SIDES)
class HashesASet(OwnDigest):
    def seen(self, rows):
        return sorted({repr(row) for row in rows})


@breaks("rows-are-counted", "database", capabilities=SIDES)
class CountsInBatches(DuckDB):
    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        execution = super().execute(query, hints, timeout_ms=timeout_ms)
        many = execution.num_rows is not None and execution.num_rows > 2048
        return replace(execution, num_rows=2048) if many else execution


@breaks("a-timeout-is-an-answer", "database", capabilities=SIDES)
class RaisesAtTheTimeout(DuckDB):
    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        execution = super().execute(query, hints, timeout_ms=timeout_ms)
        if execution.timed_out:
            raise QueryTimeoutError(timeout_ms)
        return execution


@breaks("a-timeout-is-an-answer", "database", capabilities=SIDES)
class IsLostAfterATimeout(DuckDB):
    lost = False

    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        if self.lost:
            raise DatabaseError("the connection is busy")
        execution = super().execute(query, hints, timeout_ms=timeout_ms)
        self.lost = execution.timed_out
        return execution


@breaks("explain-keeps-its-timeout", "database", capabilities=SIDES)
class ExplainsAfterTheTimeout(DuckDB):
    def explain(self, query, hints=NO_HINTS, *, timeout_ms=None):
        try:
            return super().explain(query, hints, timeout_ms=timeout_ms)
        except QueryTimeoutError:
            return super().explain(query, hints)


@breaks("explain-measures-only-when-asked", "database", capabilities=SIDES)
class AlwaysMeasures(DuckDB):
    def explain(self, query, hints=NO_HINTS, *, timeout_ms=None):
        return super().explain(query, hints, timeout_ms=timeout_ms or 60_000.0)


@breaks("explain-measures-only-when-asked", "database", capabilities=SIDES)
class NeverMeasures(DuckDB):
    def explain(self, query, hints=NO_HINTS, *, timeout_ms=None):
        if timeout_ms is not None:
            super().explain(query, hints, timeout_ms=timeout_ms)
        return super().explain(query, hints)


@breaks("explain-names-what-the-query-names", "database", capabilities=SIDES)
class NamesTables(DuckDB):
    def explain(self, query, hints=NO_HINTS, *, timeout_ms=None):
        plan = super().explain(query, hints, timeout_ms=timeout_ms)
        return plan if hints else self.renamed(plan)

    def renamed(self, plan):
        return replace(
            plan,
            alias=plan.relation,
            children=tuple(map(self.renamed, plan.children)),
            subplans=tuple(map(self.renamed, plan.subplans)),
        )


@breaks("explain-json-is-json", "database", capabilities=SIDES)
class ExplainsAsText(DuckDB):
    def explain_json(self, query, hints=NO_HINTS, *, timeout_ms=None):
        return str(self.explain(query, hints, timeout_ms=timeout_ms))


@breaks("leading-is-obeyed", "database", capabilities=ORDER)
class PlansAsItLikes(DuckDB):
    def hinted(self, query, hints=NO_HINTS):
        return replace(super().hinted(query, hints), settings={})

    def explain(self, query, hints=NO_HINTS, *, timeout_ms=None):
        # Named without looking at the hints: the plan is not theirs.
        named = replace(self.parse(query.sql))
        return super().explain(named, timeout_ms=timeout_ms)


@breaks("sides-are-obeyed", "database", capabilities=SIDES)
class SwapsSides(DuckDB):
    def hinted(self, query, hints=NO_HINTS):
        statement = super().hinted(query, hints)
        obeyed = any(isinstance(hint, Leading) for hint in hints)
        return replace(statement, settings={"disabled_optimizers": "join_order"}) if obeyed else statement


@breaks("errors-leave-the-database-usable", "database", capabilities=SIDES)
class StaysInTheTransaction(DuckDB):
    aborted = False

    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        if self.aborted:
            raise DatabaseError("the transaction is aborted")
        try:
            return super().execute(query, hints, timeout_ms=timeout_ms)
        except DatabaseError:
            self.aborted = True
            raise


@breaks("catalogs-are-told-apart-by-version", "database", capabilities=SIDES)
class CountsItsCatalogs(DuckDB):
    count = itertools.count()

    def catalog(self):
        return replace(super().catalog(), version=str(next(self.count)))


@breaks("alone-keeps-others-waiting", "database", capabilities=SIDES)
class IsNeverAlone(DuckDB):
    def alone(self):
        return contextlib.nullcontext()


@breaks("a-database-may-be-closed-twice", "database", capabilities=SIDES)
class ClosesADatabaseOnce(DuckDB):
    closed = False

    def close(self):
        if self.closed:
            raise DatabaseError("the database is closed")
        self.closed = True
        super().close()
