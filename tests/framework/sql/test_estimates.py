"""Rows that the planner expects of each relation."""

from trellis.sql import Catalog, JoinMethod, Plan, ScanMethod, Table
from trellis.sql.estimates import Estimate, estimates
from trellis.sql.reader import parse_query

CATALOG = Catalog({"a": Table("a", rows=1000), "b": Table("b", rows=50), "c": Table("c")})
QUERY = parse_query("SELECT 1 FROM a x, b y, c z, (SELECT b.i FROM b) s WHERE x.i = y.i AND y.j = z.j AND s.i = x.i")


def scan(alias, rows):
    return Plan("Seq Scan", scan=ScanMethod.SEQ, alias=alias, est_rows=rows)


def test_rows_are_those_of_scans_and_partitions_are_added_up():
    plan = Plan(
        "Hash Join",
        join=JoinMethod.HASH,
        est_rows=7,
        children=(
            Plan("Append", est_rows=99, children=(scan("x", 10), scan("x", 15))),
            Plan("Hash", est_rows=3, children=(scan("y", 3),)),
        ),
        subplans=(Plan("Subquery Scan", alias="s", est_rows=4, children=(scan("b", 4),)),),
    )
    found = estimates(plan, QUERY, CATALOG)
    assert found == {
        "x": Estimate(1000, 25),
        "y": Estimate(50, 3),
        "z": Estimate(None, None),
        "s": Estimate(None, 4),
        "b": Estimate(50, 4),
    }
    assert found["x"].selectivity == 0.025
    assert found["z"].selectivity is None


def test_a_selectivity_is_a_share_above_zero():
    assert Estimate(1000, 0).selectivity == 0.001
    assert Estimate(10, 20).selectivity == 1
    assert Estimate(0, 0).selectivity == 1
