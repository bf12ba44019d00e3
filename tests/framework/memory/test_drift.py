"""What has changed since a measurement, in words."""

from dataclasses import replace

import pytest

from trellis.memory.drift import drift_of, note_catalog
from trellis.memory.journal import Journal, MeasurementEntry
from trellis.sql import Catalog, Index, Table
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
