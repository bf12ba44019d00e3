"""Prompts of a real query on a real server: references with statistics, and answers that the database takes."""

import pytest

from trellis import Neighbour, Problem, Situation, Tried, build
from trellis.sql import parse_hints

SQL = (
    "SELECT count(*) FROM customer u, orders o, item i WHERE u.id = o.customer_id AND o.id = i.order_id AND u.id < {top} "
    "AND o.status = 'open'"
)


@pytest.fixture
def situation(postgres):
    query, other = postgres.parse(SQL.format(top=20)), postgres.parse(SQL.format(top=500))
    best = Tried(parse_hints("Leading(((i o) u))"), 2.0, "faster")
    return Situation(
        Problem("q", query.sql),
        query,
        postgres.catalog(),
        postgres.explain(query),
        neighbours=lambda k: [Neighbour(other, 0.9, best, True)][:k],
        plan_of=lambda hints: postgres.explain(query, hints),
    )


def test_references_have_the_planners_statistics_where_there_is_a_database(postgres, situation):
    blind, seeing = build("sefrqo"), build("sefrqo", database=postgres)
    assert "(u, u.id < 500): unknown" in blind.build(situation.problem, situation)
    prompt = seeing.build(situation.problem, situation)
    assert "(u, u.id < 500): 499\n" in prompt
    assert "(u, u.id < 20): 19\n" in prompt
    assert prompt == seeing.build(situation.problem, situation)


@pytest.mark.parametrize("name", ["sefrqo", "compact", "plain"])
def test_hints_that_a_prompt_shows_are_taken_by_the_database(postgres, situation, name):
    builder = build(name)
    prompt = builder.build(situation.problem, situation)
    leading = [
        line[line.index("Leading") :]
        for line in prompt.splitlines()
        if line.startswith(("Leading(((", "default ", "near "))
    ]
    assert len(leading) >= 2
    for text in leading[-2:]:
        hints = builder.renaming(situation.query).undo(parse_hints(text.split(" -- ")[0]))
        postgres.hinted(situation.query, hints)


def test_no_secret_of_the_connection_is_in_a_prompt(postgres, situation):
    for name in ("sefrqo", "compact", "plain"):
        prompt = build(name).build(situation.problem, situation)
        assert str(postgres.server.directory) not in prompt
        assert "trellis_reader" not in prompt
