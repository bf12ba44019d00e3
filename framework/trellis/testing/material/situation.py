"""A query, and all that is known of it, without a database."""

from __future__ import annotations

from trellis.contracts.proposer import Neighbour, Situation, Tried
from trellis.sql.catalog import Catalog, Index, Table
from trellis.sql.from_plan import plan_hints
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import JoinMethod, ScanMethod
from trellis.sql.plan import Plan
from trellis.sql.query import Query
from trellis.types import Problem

CATALOG = Catalog(
    {
        "city": Table("city", columns={"id": "integer", "region": "text"}, rows=40),
        "person": Table(
            "person",
            columns={"id": "integer", "city_id": "integer", "born": "integer"},
            indexes={"person_city": Index("person_city", ("city_id",))},
            rows=1000,
        ),
        "sale": Table("sale", columns={"person_id": "integer", "price": "numeric"}, rows=20000),
    },
    version="kit",
)


def query(born: int = 1970, aliases: tuple[str, str, str] = ("c", "p", "s")) -> Query:
    """Return a query of three tables."""
    from trellis.sql.reader import parse_query

    c, p, s = aliases
    return parse_query(
        f"SELECT count(*) FROM city AS {c}, person AS {p}, sale AS {s} WHERE {p}.city_id = {c}.id AND {s}.person_id = {p}.id "
        f"AND {c}.region = 'north' AND {p}.born > {born}",
        catalog=CATALOG,
    )


def situation() -> Situation:
    """Return a query that hints were tried on, with a neighbour."""
    asked = query()
    plan = Plan(
        "Nested Loop",
        join=JoinMethod.NEST_LOOP,
        join_type="inner",
        est_rows=900,
        children=(
            Plan(
                "Hash Join",
                join=JoinMethod.HASH,
                join_type="inner",
                est_rows=45,
                children=(
                    Plan("Seq Scan", scan=ScanMethod.SEQ, alias="p", relation="person", est_rows=300),
                    Plan("Seq Scan", scan=ScanMethod.SEQ, alias="c", relation="city", est_rows=6),
                ),
            ),
            Plan("Seq Scan", scan=ScanMethod.SEQ, alias="s", relation="sale", est_rows=20),
        ),
    )
    best = Tried(parse_hints("Leading(((b a) d))"), 2.0, "faster", 10.0)
    neighbours = [Neighbour(query(1980, ("a", "b", "d")), 0.9, best, same_template=True)]
    return Situation(
        Problem("kit", asked.sql),
        asked,
        CATALOG,
        plan,
        tried=(
            Tried(plan_hints(plan, asked), 1.0, "same plan"),
            Tried(parse_hints("Leading(((s p) c))"), 0.5, "slower", 80.0),
        ),
        neighbours=lambda k: neighbours[:k],
    )
