"""One SELECT that only reads, told from its syntax tree."""

import pytest
import sqlglot

from trellis.errors import UnsafeQueryError
from trellis.sql.safety import check_safe, is_dangerous


def check(sql, *, dialect="postgres", allow=()):
    check_safe(sqlglot.parse_one(sql, read=dialect), dialect=dialect, allow_functions=allow)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t WHERE b = 1 AND (c = 2 OR NOT d) GROUP BY a HAVING count(*) > 1 ORDER BY 1 LIMIT 3",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "VALUES (1), (2)",
        "TABLE t",
        "WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b",
        "SELECT nextval, t.pg_sleep FROM t",
        "SELECT 'pg_read_file(1)'",
        "SELECT now(), lower(a), generate_series(1, 2) FROM t",
    ],
)
def test_what_only_reads_passes(sql):
    check(sql)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("INSERT INTO t SELECT 1", "INSERT"),
        ("CREATE TABLE a AS SELECT 1", "CREATE"),
        ("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "DELETE"),
        ("SELECT * FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT * FROM (SELECT * FROM t FOR SHARE) s", "FOR SHARE"),
        ("SELECT 1 INTO a", "INTO a"),
        ("SET x = 1", "SET"),
        ("LISTEN x", "LISTEN"),
        ("SELECT $1", "$1"),
        ("SELECT PG_SLEEP(1)", "pg_sleep"),
        ('SELECT pg_catalog."pg_read_file"(1)', "pg_read_file"),
        ("SELECT * FROM lo_export(1, 'x') f", "lo_export"),
    ],
)
def test_everything_else_is_refused_by_name(sql, found):
    with pytest.raises(UnsafeQueryError) as caught:
        check(sql)
    assert caught.value.found == found


def test_a_function_can_be_allowed_by_name_or_with_its_schema():
    check("SELECT PG_SLEEP(1)", allow=["pg_sleep"])
    check("SELECT ext.dblink('a')", allow=["ext.dblink"])
    with pytest.raises(UnsafeQueryError):
        check("SELECT dblink('a')", allow=["ext.dblink"])


def test_each_dialect_has_functions_of_its_own():
    for sql in ("SELECT * FROM read_csv('x')", "SELECT * FROM read_csv_auto('x')", "SELECT getenv('HOME')"):
        with pytest.raises(UnsafeQueryError):
            check(sql, dialect="duckdb")
    assert not is_dangerous("pg_sleep", dialect="sqlite")
