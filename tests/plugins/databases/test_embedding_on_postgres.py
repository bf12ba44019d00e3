"""Queries compared by the selectivities of a real planner."""

from trellis import build
from trellis.sql.reader import parse_query


def cosine(embedder, one, other):
    a, b = embedder.embed([one, other])
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_selectivities_tell_apart_what_constants_do_not(postgres):
    def query(status):
        return postgres.parse(
            f"SELECT count(*) FROM customer u JOIN orders o ON o.customer_id = u.id WHERE o.status = '{status}'"
        )

    # 'open' is one order in fifty, 'done' all others; 'gone' is none.
    blind, seeing = build("sql-features"), build("sql-features", database=postgres)
    assert abs(cosine(blind, query("open"), query("gone")) - cosine(blind, query("open"), query("done"))) < 0.05
    assert cosine(seeing, query("open"), query("done")) < cosine(blind, query("open"), query("done")) - 0.02
    assert blind.version != seeing.version


def test_a_query_that_the_database_cannot_plan_has_a_vector_without_them(postgres):
    query = parse_query("SELECT 1 FROM a_table_that_is_gone g WHERE g.x = 3")
    assert build("sql-features", database=postgres).embed([query]) == build("sql-features").embed([query])
