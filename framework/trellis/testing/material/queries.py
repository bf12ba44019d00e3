"""Queries that bring their tables along, for checks of database backends."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from trellis.contracts.database import DatabaseBackend
from trellis.sql.hints import Leading, PlanHints
from trellis.sql.orders import random_tree
from trellis.sql.query import Query

TABLES = """
WITH ta AS MATERIALIZED (SELECT i AS x, i % 7 AS y FROM generate_series(1, 60) AS sa(i)),
     tb AS MATERIALIZED (SELECT i AS x, i % 5 AS y FROM generate_series(1, 40) AS sb(i)),
     tc AS MATERIALIZED (SELECT i AS x, i % 3 AS y FROM generate_series(1, 20) AS sc(i)),
     td AS MATERIALIZED (SELECT i AS x, i % 2 AS y FROM generate_series(1, 10) AS sd(i))
"""
"""CTEs that a planner neither merges nor looks into, so that plans show them by name."""

INNER = (
    TABLES + "SELECT a.x, b.y, c.x AS z FROM ta AS a, tb AS b, tc AS c WHERE a.x = b.x AND b.y = c.x ORDER BY 1, 2, 3"
)
CHAIN = (
    TABLES + "SELECT d.x, count(*) AS n FROM ta AS a JOIN tb AS b ON a.y = b.x JOIN tc AS c ON b.y = c.y JOIN td AS d "
    "ON c.x = d.x GROUP BY d.x ORDER BY 1, 2"
)
OUTER = (
    TABLES
    + "SELECT a.x, b.x AS z, c.y, d.y AS w FROM ta AS a JOIN tc AS c ON a.y = c.y LEFT JOIN tb AS b ON b.x = a.x + 30 "
    "JOIN td AS d ON d.x = c.x ORDER BY 1, 2, 3, 4"
)
QUERIES = (INNER, CHAIN, OUTER)
NUM_ORDERS = 8
"""Join orders tried per query."""

LONG = (
    "SELECT count(*) AS n FROM generate_series(1, 100000) AS a(x), generate_series(1, 100000) AS b(y), "
    "generate_series(1, 100000) AS c(z) WHERE (a.x + b.y + c.z) % 7 = 3"
)
"""A query that does not end."""

SHORT_MS = 300.0
AMPLE_MS = 60_000.0

NO_SELECTS = (
    "",
    "SELECT FROM WHERE",
    "SELECT 1 AS x; SELECT 2 AS x",
    "SELECT 1 AS x; DROP TABLE trellis_check",
    "INSERT INTO trellis_check VALUES (1)",
    "UPDATE trellis_check SET x = 1",
    "DELETE FROM trellis_check",
    "CREATE TABLE trellis_check (x integer)",
    "DROP TABLE trellis_check",
    "WITH gone AS (DELETE FROM trellis_check RETURNING *) SELECT * FROM gone",
    "SET search_path = nowhere",
    "BEGIN",
    "COMMIT",
    "EXPLAIN SELECT 1 AS x",
    "COPY trellis_check TO '/tmp/trellis_check'",
)

DIFFERENT = (
    ("SELECT 1 AS x", "SELECT 2 AS x", "another value"),
    ("SELECT 1 AS x", "SELECT 1 AS y", "another column name"),
    ("SELECT 1 AS x", "SELECT 1 AS x UNION ALL SELECT 1", "the same row twice"),
    (
        "SELECT 1 AS x UNION ALL SELECT 1 UNION ALL SELECT 2",
        "SELECT 1 AS x UNION ALL SELECT 2 UNION ALL SELECT 2",
        "another row twice",
    ),
    ("SELECT CAST('' AS varchar) AS x", "SELECT CAST(NULL AS varchar) AS x", "NULL for ''"),
    ("SELECT 'a' AS x, 'bc' AS y", "SELECT 'ab' AS x, 'c' AS y", "the same letters in other columns"),
)


def ordered(database: DatabaseBackend) -> Iterator[tuple[Query, PlanHints]]:
    """Yield each query with random legal join orders, the same each time."""
    rng = Random(0)
    for sql in QUERIES:
        query = database.parse(sql)
        for _ in range(NUM_ORDERS):
            tree = random_tree(query.blocks[0], rng)
            assert tree is not None
            yield query, PlanHints(leading=(Leading(tree),))
