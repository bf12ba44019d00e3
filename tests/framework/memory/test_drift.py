"""What has changed since a measurement, in words."""

from dataclasses import replace

import pytest

from trellis.errors import DatabaseError
from trellis.memory.drift import drift_of, ground_of, note_catalog
from trellis.memory.journal import Journal, MeasurementEntry
from trellis.sql import Catalog, Index, Plan, Table
from trellis.sql.reader import parse_query

A = Table("a", columns={"id": "integer", "x": "integer"}, indexes={"a_x": Index("a_x", ("x",))})
B = Table("b", columns={"id": "integer"})
VIEW = Table("v", columns={"id": "integer"}, kind="view")
QUERY = parse_query("SELECT count(*) FROM a WHERE a.x = 1")
MEASURED = MeasurementEntry("k", "db", "h", "faster", 2, 1.8, 2.2, 100, 50, 5, "d", "arms", "v1", 180004)


def catalog(*tables, version):
    return Catalog({name: t for t in tables for name in (t.name, f"public.{t.name}")}, version)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "memory.db")
    note_catalog(journal, catalog(A, B, VIEW, version="v1"))
    yield journal
    journal.close()


def said(journal, *tables, query=QUERY, version=180004):
    return drift_of(query, journal, catalog(*tables, version="v2"), version)(MEASURED)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ((A, replace(B, columns={}), VIEW), ""),
        ((replace(A, rows=1e9), B, VIEW), ""),
        ((replace(A, indexes={}), B, VIEW), "the index a_x of a is gone"),
        (
            (replace(A, indexes={"a_x": Index("a_x", ("x",)), "new": Index("new", ("id",))}),),
            "the index new of a is new",
        ),
        (
            (replace(A, columns={"id": "integer", "y": "integer"}),),
            "the column x of a is gone; the column y of a is new",
        ),
        ((replace(A, columns={"id": "bigint", "x": "integer"}),), "the column id of a was integer and is bigint"),
        ((B,), "the table a is not there any more"),
        ((replace(A, kind="foreign table"),), "the schema has changed, and a is a foreign table"),
    ],
)
def test_a_change_of_the_querys_own_tables_is_named(tables, reason, journal):
    assert said(journal, *tables).startswith(reason)
    assert bool(said(journal, *tables)) == bool(reason)


def test_a_view_may_rest_on_whatever_has_changed(journal):
    assert "v is a view" in said(journal, A, B, VIEW, query=parse_query("SELECT count(*) FROM v"))


def test_the_same_version_is_no_change(journal):
    assert drift_of(QUERY, journal, catalog(B, version="v1"), 180004)(MEASURED) == ""


def test_a_catalog_that_nobody_noted_counts_as_changed(tmp_path):
    empty = Journal(tmp_path / "empty.db")
    assert said(empty, A, B, VIEW) == "the schema has changed since it was measured"
    empty.close()


def test_a_minor_version_plans_alike_and_a_major_one_does_not(journal):
    assert said(journal, A, version=180009) == ""
    assert said(journal, A, version=190000) == "the server's version was 180004 when it was measured and is 190000 now"


class Planner:
    """Answers with plans by hints; what it has no plan for it refuses."""

    settings = {"jit": "off"}

    def __init__(self, **plans):
        self.plans = plans

    def explain(self, query, hints):
        if str(hints) not in self.plans:
            raise DatabaseError("no such plan")
        return Plan(self.plans[str(hints)], alias="a", est_rows=7)


HINTS = "SeqScan(a)"


def grounded(journal, *, rows, planner=None, settings=None):
    """Say what has changed of a measurement on 1,000 rows of a, where a scan by an index was compared with one without."""
    before = catalog(replace(A, rows=1000), B, version="v1")
    ground = ground_of(
        QUERY,
        before,
        default=Plan("Index Scan", alias="a"),
        plan=Plan("Seq Scan", alias="a"),
        settings=settings or {"jit": "off"},
    )
    m = replace(MEASURED, hints=HINTS, ground=ground)
    now = catalog(replace(A, rows=rows), replace(B, rows=1e9), version="v1")
    return drift_of(QUERY, journal, now, 180004, planner=planner)(m)


@pytest.mark.parametrize(
    ("rows", "has_changed"), [(None, False), (999, False), (1900, False), (2100, True), (510, False), (490, True)]
)
def test_a_table_of_twice_or_half_the_rows_has_changed(rows, has_changed, journal):
    assert bool(grounded(journal, rows=rows)) == has_changed
    if has_changed:
        assert f"the table public.a had 1,000 rows when it was measured and has {rows:,} now" in grounded(
            journal, rows=rows
        )


def test_another_plan_by_default_or_under_the_hints_has_changed(journal):
    same = Planner(**{"": "Index Scan", HINTS: "Seq Scan"})
    assert grounded(journal, rows=1000, planner=same) == ""
    other = Planner(**{"": "Bitmap Heap Scan", HINTS: "Seq Scan"})
    assert "takes another plan by default" in grounded(journal, rows=1000, planner=other)
    refused = Planner(**{"": "Index Scan"})
    assert "takes another plan under its hints" in grounded(journal, rows=1000, planner=refused)


def test_a_change_of_the_schema_under_which_the_planner_takes_the_same_plans_has_changed_nothing(journal):
    ground = ground_of(
        QUERY,
        catalog(A, version="v1"),
        default=Plan("Index Scan", alias="a"),
        plan=Plan("Seq Scan", alias="a"),
        settings={"jit": "off"},
    )
    m = replace(MEASURED, hints=HINTS, ground=ground)
    now = catalog(replace(A, columns={**A.columns, "new": "text"}), version="v2")
    same, other = Planner(**{"": "Index Scan", HINTS: "Seq Scan"}), Planner(**{"": "Seq Scan", HINTS: "Seq Scan"})
    assert drift_of(QUERY, journal, now, 180004, planner=same)(m) == ""
    assert drift_of(QUERY, journal, now, 180004, planner=other)(m) == "the column new of a is new"
    assert drift_of(QUERY, journal, now, 180004)(m) == "the column new of a is new"
    assert "the server's version was" in drift_of(QUERY, journal, now, 190001, planner=same)(m)


def test_plans_under_other_settings_are_not_compared(journal):
    other = Planner(**{"": "Gather", HINTS: "Gather"})
    assert grounded(journal, rows=1000, planner=other, settings={"work_mem": "1GB"}) == ""
