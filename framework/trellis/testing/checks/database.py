"""Checks of database backends, by queries that bring their tables along: an empty database is enough."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from trellis.contracts.database import DatabaseBackend, Execution
from trellis.errors import DatabaseError, HintError, QueryTimeoutError, SQLError
from trellis.sql.compare import Verdict, compare
from trellis.sql.hints import Join, JoinHint, JoinMethod, Leading, PlanHints, Switch
from trellis.sql.query import Query
from trellis.testing.check import Check, Subject, expect
from trellis.testing.material.queries import (
    AMPLE_MS,
    DIFFERENT,
    INNER,
    LONG,
    NO_SELECTS,
    OUTER,
    QUERIES,
    SHORT_MS,
    ordered,
)


def parse_keeps_the_text(subject: Subject) -> None:
    """A query that is served as it was must be the one that was asked, to the letter.

    Return a `Query` whose `sql` is the text given and whose `dialect` is the backend's.
    """
    with _open(subject) as database:
        for sql in QUERIES:
            query = database.parse(sql)
            expect(query.sql == sql, f"{sql!r} became {query.sql!r}")
            expect(query.dialect == database.dialect, f"its dialect is {query.dialect!r}, not {database.dialect!r}")


def parse_refuses_what_is_not_one_select(subject: Subject) -> None:
    """What comes from a workload, a person or a model may only read.

    Raise `QuerySyntaxError` or `UnsafeQueryError`; `trellis.sql.safety.check_safe` does most of it.
    """
    with _open(subject) as database:
        for sql in NO_SELECTS:
            try:
                database.parse(sql)
            except SQLError:
                continue
            expect(False, f"it takes {sql!r}")


def what_is_executed_is_checked(subject: Subject) -> None:
    """A query is plain data: one that never went through `parse` must not get past its checks.

    Parse `query.sql` in `hinted`, and keep what has been checked in memory.
    """
    with _open(subject) as database:
        harmless = database.parse("SELECT 1 AS x")
        for sql in ("CREATE TABLE trellis_check (x integer)", "SELECT 1 AS x; CREATE TABLE trellis_check (x integer)"):
            try:
                database.execute(replace(harmless, sql=sql), timeout_ms=AMPLE_MS)
                refused = False
            except SQLError:
                refused = True
            database.refresh()
            expect(database.catalog().table("trellis_check") is None, f"{sql!r} made a table")
            expect(refused, f"it executes {sql!r}")


def no_hints_send_the_query_itself(subject: Subject) -> None:
    """Without hints a query must run exactly as if Trellis were not there.

    Return `HintedStatement(query.sql)` where `hints` is empty.
    """
    with _open(subject) as database:
        for sql in QUERIES:
            query = database.parse(sql)
            statement = database.hinted(query)
            expect(statement.sql == query.sql, f"without hints it sends {statement.sql!r} for {query.sql!r}")
            said = dict(statement.settings), dict(statement.untouched)
            expect(said == ({}, {}), f"without hints it sets or reports {said}")


def hints_that_do_not_fit_are_refused(subject: Subject) -> None:
    """A model that names what is not there must hear of it, and not be paid for the planner's own plan.

    Call `trellis.sql.fit.check_hints` in `hinted`.
    """
    wrong = (
        (INNER, Leading(Join(Join("a", "b"), "nobody"))),
        (INNER, Leading(Join("a", "b"))),
        (OUTER, Leading(Join(Join(Join("b", "c"), "a"), "d"))),
        (INNER, JoinHint(frozenset({"a", "nobody"}), JoinMethod.HASH)),
    )
    with _open(subject) as database:
        for sql, hint in wrong:
            try:
                database.hinted(database.parse(sql), _hints(hint))
            except HintError:
                continue
            expect(False, f"it takes {hint} for a query without such a join order: {sql.strip()}")


def what_cannot_be_asked_for_is_said(subject: Subject) -> None:
    """A hint that is dropped in silence looks like one that made no difference.

    Name each hint that neither the text nor the settings ask for in `HintedStatement.untouched`, with the reason.
    """
    hints = (
        Leading(Join(Join("c", "b"), "a")),
        JoinHint(frozenset({"a", "b"}), JoinMethod.MERGE),
        Switch("enable_sort", on=False),
    )
    with _open(subject) as database:
        query = database.parse(INNER)
        for hint in hints:
            statement = database.hinted(query, _hints(hint))
            asked = statement.sql != query.sql or bool(statement.settings)
            reason = statement.untouched.get(str(hint), "")
            expect(asked or reason.strip(), f"{hint} is neither asked for nor in `untouched`")


def results_do_not_depend_on_hints(subject: Subject) -> None:
    """A faster plan with another result is no plan of the query.

    Build what you send from the query's own text (`trellis.sql.rewrite`), and compare the results of many orders.
    """
    with _open(subject) as database:
        for query, hints in ordered(database):
            plain = database.execute(query, timeout_ms=AMPLE_MS)
            hinted = database.execute(query, hints, timeout_ms=AMPLE_MS)
            expect(_result(plain) == _result(hinted), f"under {hints} another result: {query.sql.strip()}")


def digests_ignore_the_order_of_rows(subject: Subject) -> None:
    """Two plans return the same rows in different orders, and that is no difference.

    Combine the rows' hashes by an operation that commutes, such as addition.
    """
    with _open(subject) as database:
        one = _executed(database, "SELECT i AS x FROM generate_series(1, 50) AS s(i) ORDER BY i")
        other = _executed(database, "SELECT i AS x FROM generate_series(1, 50) AS s(i) ORDER BY -i")
        expect(one.digest == other.digest, "the same rows in another order have another digest")


def digests_tell_results_apart(subject: Subject) -> None:
    """Equal digests are taken for equal results, so whatever they leave out can go wrong unseen.

    Hash column names, the number of rows, and of each row every value with its length and NULL as something of its own.
    """
    with _open(subject) as database:
        for one, other, difference in DIFFERENT:
            same = _executed(database, one).digest == _executed(database, other).digest
            expect(not same, f"{difference}, and the digest is the same: {one!r} and {other!r}")


def rows_are_counted(subject: Subject) -> None:
    """A count that is wrong, or a time that is none, ends up in tables of results.

    Count while hashing, and measure with `time.perf_counter` from sending the statement to its last row.
    """
    with _open(subject) as database:
        for count in (0, 1, 5000):
            execution = _executed(database, f"SELECT i AS x FROM generate_series(1, {count}) AS s(i)")
            expect(not execution.timed_out, f"timed_out within {AMPLE_MS} ms")
            expect(execution.num_rows == count, f"{count} rows, and num_rows={execution.num_rows}")
            expect(execution.latency_ms > 0, f"it took {execution.latency_ms} ms")


def a_timeout_is_an_answer(subject: Subject) -> None:
    """Bad plans are found out by stopping them: that must neither raise nor spoil the connection.

    Return `Execution(timeout_ms, timed_out=True)`, and see to it that the next statement runs.
    """
    with _open(subject) as database:
        for _ in range(2):
            execution = _executed(database, LONG, timeout_ms=SHORT_MS)
            expect(execution.timed_out, f"a query that does not end: {execution}")
            found = execution.num_rows, execution.digest
            expect(found == (None, None), f"it timed out, and has num_rows and digest {found}")
            expect(_executed(database, "SELECT 1 AS x").num_rows == 1, "after a time-out the next query fails")


def explain_keeps_its_timeout(subject: Subject) -> None:
    """To measure a plan is to run it, and a bad one would hold up everything.

    With `timeout_ms`, stop after it and raise `QueryTimeoutError`.
    """
    with _open(subject) as database:
        try:
            database.explain(database.parse(LONG), timeout_ms=SHORT_MS)
        except QueryTimeoutError:
            return
        expect(False, "a query that does not end was explained by running it, without QueryTimeoutError")


def explain_measures_only_when_asked(subject: Subject) -> None:
    """A plan is asked for where running it may take hours; measured rows are asked for to learn from them.

    Run the query exactly where `timeout_ms` is given, and fill `rows` and `loops` exactly then.
    """
    with _open(subject) as database:
        query = database.parse(INNER)
        plan = database.explain(query)
        expect(all(node.rows is None and node.loops is None for node in plan.walk()), "a plan alone has measured rows")
        measured = database.explain(query, timeout_ms=AMPLE_MS)
        count = database.execute(query, timeout_ms=AMPLE_MS).num_rows
        expect(measured.rows == count, f"the plan's first node has rows={measured.rows}, the result {count}")


def explain_names_what_the_query_names(subject: Subject) -> None:
    """Hints name aliases, so whoever compares them with a plan must find the same names there.

    Fill `Plan.alias` with the query's own name for what a node reads, and with nothing that the query does not name.
    """
    with _open(subject) as database:
        for sql in QUERIES:
            query = database.parse(sql)
            named = {relation.alias for relation in query.relations}
            shown = {node.alias for node in database.explain(query).walk() if node.alias is not None}
            expect(shown <= named, f"the plan names {sorted(shown - named)}, the query {sorted(named)}")
            missing = sorted(set(query.blocks[0].aliases) - shown)
            expect(not missing, f"the plan reads {missing} under no name, or another")


def explain_json_is_json(subject: Subject) -> None:
    """Other tools draw the plan, and they read JSON.

    Return the database's own document as text.
    """
    with _open(subject) as database:
        document = json.loads(database.explain_json(database.parse(INNER)))
        expect(isinstance(document, list | dict) and document, f"it holds {document!r}")


def leading_is_obeyed(subject: Subject) -> None:
    """Who declares "join-order" is searched for join orders; ignored ones would all look equally good.

    Compare `explain` under hints with the tree asked for; a backend that cannot promise it leaves the capability out.
    """
    for query, verdict in _verdicts(subject):
        expect(verdict.same_tree, f"{verdict.hint}: {verdict.reason}. The query: {query.sql.strip()}")


def sides_are_obeyed(subject: Subject) -> None:
    """With "join-side" the left input of a join is the outer one, and half of all orders differ in nothing else.

    Leave the capability out where the planner still swaps inputs.
    """
    for query, verdict in _verdicts(subject):
        swapped = verdict.same_tree and verdict.status != "honoured"
        expect(not swapped, f"{verdict.hint}: {verdict.reason}. The query: {query.sql.strip()}")


def errors_leave_the_database_usable(subject: Subject) -> None:
    """One query among thousands that divides by zero must not end the night's work.

    Raise `DatabaseError`, and roll back what is left of the transaction.
    """
    with _open(subject) as database:
        query = database.parse(
            "SELECT CAST(CAST(i AS varchar) || 'x' AS integer) AS x FROM generate_series(1, 9) AS s(i)"
        )
        for _ in range(2):
            try:
                database.execute(query, timeout_ms=AMPLE_MS)
                expect(False, "a cast that cannot be done gives a result")
            except DatabaseError:
                pass
            expect(_executed(database, "SELECT 1 AS x").num_rows == 1, "after an error the next query fails")


def catalogs_are_told_apart_by_version(subject: Subject) -> None:
    """What is known of plans is thrown away when the version changes: it must change with the schema alone.

    Compute `Catalog.version` from tables, columns and indexes.
    """
    with _open(subject) as database:
        first = database.catalog()
        database.refresh()
        again = database.catalog()
        expect(first.version, "the version is empty")
        expect(
            first.version == again.version,
            f"nothing has changed, and the version has: {first.version}, {again.version}",
        )


def alone_keeps_others_waiting(subject: Subject) -> None:
    """Two measurements at a time measure each other.

    Hold a lock in `alone` that belongs to the database, not to the object.
    """
    with _open(subject) as database:
        database.execute(database.parse("SELECT 1 AS x"), timeout_ms=AMPLE_MS)
        entered = threading.Event()

        def enter() -> None:
            with database.alone():
                entered.set()

        other = threading.Thread(target=enter, daemon=True)
        with database.alone():
            other.start()
            expect(not entered.wait(SHORT_MS / 1000), "two threads are alone at the same time")
        expect(entered.wait(AMPLE_MS / 1000), "when the first is done, the second still waits")
        other.join()


def a_database_may_be_closed_twice(subject: Subject) -> None:
    """Whoever owns a backend closes it, and so does the engine when a run ends.

    Make `close` do nothing the second time; it may come before any work.
    """
    database: DatabaseBackend = subject.make()
    database.close()
    database.close()
    with _open(subject) as worked:
        _executed(worked, "SELECT 1 AS x")
        worked.close()


@contextmanager
def _open(subject: Subject) -> Iterator[DatabaseBackend]:
    database: DatabaseBackend = subject.make()
    try:
        yield database
    finally:
        database.close()


def _executed(database: DatabaseBackend, sql: str, *, timeout_ms: float = AMPLE_MS) -> Execution:
    return database.execute(database.parse(sql), timeout_ms=timeout_ms)


def _result(execution: Execution) -> tuple[str | None, int | None]:
    return execution.digest, execution.num_rows


def _hints(hint: Leading | JoinHint | Switch) -> PlanHints:
    match hint:
        case Leading():
            return PlanHints(leading=(hint,))
        case JoinHint():
            return PlanHints(joins=(hint,))
        case Switch():
            return PlanHints(switches=(hint,))


def _verdicts(subject: Subject) -> Iterator[tuple[Query, Verdict]]:
    with _open(subject) as database:
        for query, hints in ordered(database):
            (verdict,) = compare(hints, database.explain(query, hints), query)
            yield query, verdict


CHECKS = (
    *(
        Check.of("database", function)
        for function in (
            parse_keeps_the_text,
            parse_refuses_what_is_not_one_select,
            what_is_executed_is_checked,
            no_hints_send_the_query_itself,
            hints_that_do_not_fit_are_refused,
            what_cannot_be_asked_for_is_said,
            results_do_not_depend_on_hints,
            digests_ignore_the_order_of_rows,
            digests_tell_results_apart,
            rows_are_counted,
            a_timeout_is_an_answer,
            explain_keeps_its_timeout,
            explain_measures_only_when_asked,
            explain_names_what_the_query_names,
            explain_json_is_json,
        )
    ),
    Check.of("database", leading_is_obeyed, {"join-order"}),
    Check.of("database", sides_are_obeyed, {"join-side"}),
    *(
        Check.of("database", function)
        for function in (
            errors_leave_the_database_usable,
            catalogs_are_told_apart_by_version,
            alone_keeps_others_waiting,
            a_database_may_be_closed_twice,
        )
    ),
)
