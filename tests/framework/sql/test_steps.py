"""Hints as lines of join decisions, and back."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.errors import HintError
from trellis.sql import Renaming, check_hints, parse_hints, random_hints
from trellis.sql.fit import misfits
from trellis.sql.hints import Join, Leading, PlanHints
from trellis.sql.reader import parse_query
from trellis.sql.steps import hints_of, lines_of, next_lines, unsided

CHAIN = "SELECT 1 FROM a, b, c, d WHERE a.x = b.x AND b.y = c.y AND c.z = d.z"
QUERIES = [
    CHAIN,
    "SELECT 1 FROM a LEFT JOIN b ON a.x = b.x LEFT JOIN c ON b.y = c.y JOIN d ON d.x = a.x",
    "SELECT 1 FROM a JOIN b ON a.x = b.x LEFT JOIN (c JOIN d ON c.x = d.x LEFT JOIN e ON e.y = d.y) ON c.y = a.y + b.y",
    "SELECT 1 FROM a, b WHERE a.x = b.x AND a.y IN (SELECT c.y FROM c JOIN d ON c.x = d.x JOIN e ON e.x = c.x)",
    'SELECT 1 FROM a AS "Odd name", b, c WHERE "Odd name".x = b.x',
    "SELECT 1 FROM a AS t1, b AS t10, c AS t2 WHERE t1.x = t10.x AND t10.x = t2.x",
]
PARSED = [parse_query(sql) for sql in QUERIES]
queries = st.sampled_from(QUERIES).map(dict(zip(QUERIES, PARSED, strict=True)).__getitem__)
seeds = st.integers(0, 10_000)


@given(queries, seeds, st.booleans())
def test_hints_come_back_from_their_lines(query, seed, methods):
    hints = random_hints(query, Random(seed), methods=methods, scans=False)
    lines = lines_of(hints, query)
    assert hints_of(query, lines) == hints
    if methods:
        assert parse_hints("\n".join(lines)) == hints


@given(queries, seeds)
def test_each_line_of_hints_is_among_the_next_lines_before_it(query, seed):
    lines = lines_of(random_hints(query, Random(seed), scans=False), query)
    for index, line in enumerate(lines):
        assert line in next_lines(query, lines[:index])
    assert next_lines(query, lines) == []


@given(queries, seeds, st.booleans(), st.booleans(), st.booleans())
def test_however_one_goes_on_the_end_is_legal(query, seed, free, bushy, cross_products):
    rng, lines = Random(seed), []
    while found := next_lines(query, lines, free=free, bushy=bushy, cross_products=cross_products):
        assert len(set(found)) == len(found)
        lines.append(rng.choice(found))
    hints = hints_of(query, lines)
    check_hints(hints, query)
    assert len(hints.leading) == sum(line.startswith("Leading") for line in lines)
    again = lines_of(hints, query)
    assert hints_of(query, again) == hints
    assert sorted(again) == sorted(lines)


@given(queries, seeds)
def test_lines_can_be_under_canonical_names(query, seed):
    hints = random_hints(query, Random(seed), scans=False)
    renaming = Renaming.canonical(query)
    there = renaming.query(query)
    lines = lines_of(renaming.apply(hints), there)
    assert renaming.undo(hints_of(there, lines)) == hints


def test_lines_are_written_in_the_order_of_making():
    (query,) = (query for query in PARSED if query.sql == CHAIN)
    hints = parse_hints("HashJoin(a b) NestLoop(c d) MergeJoin(a b c d) Leading(((d c) (a b)))")
    assert lines_of(hints, query) == ["NestLoop(d c)", "HashJoin(a b)", "MergeJoin(d c a b)", "Leading(((d c) (a b)))"]


def test_only_what_a_predicate_joins_follows_unless_cross_products_may():
    first = next_lines(PARSED[0])
    assert first[:4] == ["NestLoop(a b)", "HashJoin(a b)", "MergeJoin(a b)", "NestLoop(b a)"]
    assert len(first) == 3 * 2 * 3
    assert len(next_lines(PARSED[0], cross_products=True)) == 4 * 3 * 3
    assert next_lines(PARSED[0], ["HashJoin(a b)", "HashJoin(c d)"], free=True) == [
        f"{word}({aliases})"
        for aliases in ("a b c d", "c d a b")
        for word in ("NestLoop", "HashJoin", "MergeJoin", "Join")
    ]


def test_without_bushy_trees_one_part_grows():
    assert not any(line.endswith("(c d)") for line in next_lines(PARSED[0], ["HashJoin(a b)"], bushy=False))
    assert next_lines(PARSED[0], ["HashJoin(a b)"], bushy=False) == [
        "NestLoop(a b c)",
        "HashJoin(a b c)",
        "MergeJoin(a b c)",
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["HashJoin(a b)", "HashJoin(b c)"], "it is no join of two of these, the outer one first: a b; c; d"),
        (["Hash(a b)"], "it is no join of two of these"),
        (["HashJoin(a b"], "it is no join of two of these"),
        (["Leading((a b))"], "it is no join of two of these"),
        (
            ["HashJoin(a b)", "HashJoin(a b c)", "HashJoin(a b c d)", "Leading((((b a) c) d))"],
            "nothing else may follow",
        ),
        (
            ["HashJoin(a b)", "HashJoin(a b c)", "HashJoin(a b c d)", "Leading((((a b) c) d))", "HashJoin(a b)"],
            "the order of every block is complete",
        ),
    ],
)
def test_what_cannot_follow_is_refused_with_the_reason(lines, reason):
    with pytest.raises(HintError, match="(?s)" + reason.replace("(", r"\(")):
        next_lines(PARSED[0], lines)


def test_without_bushy_trees_a_nullable_side_that_is_whole_waits():
    lines = next_lines(PARSED[2], ["MergeJoin(d c)", "HashJoin(d c e)"], bushy=False)
    assert {line.partition("(")[2] for line in lines} == {"a b)", "b a)"}


def test_a_left_join_is_kept_to():
    with pytest.raises(HintError, match="a left join of the query does not allow this join now"):
        next_lines(PARSED[1], ["HashJoin(b c)"])
    assert not any(line.endswith(("(b c)", "(c b)")) for line in next_lines(PARSED[1], cross_products=True))


def test_lines_that_end_early_are_no_hints():
    with pytest.raises(HintError, match="the order of the query is not complete"):
        hints_of(PARSED[0], ["HashJoin(a b)"])


@pytest.mark.parametrize(
    ("hints", "reason"),
    [
        ("SeqScan(a) Leading((((a b) c) d))", "lines of join decisions say neither scans nor switches"),
        ("Set(enable_sort off) Leading((((a b) c) d))", "lines of join decisions say neither scans nor switches"),
        ("HashJoin(a b)", "it has no order of the query"),
    ],
)
def test_what_lines_cannot_say_is_refused(hints, reason):
    with pytest.raises(HintError, match=reason):
        lines_of(parse_hints(hints), PARSED[0])


def test_a_query_of_one_table_has_no_lines():
    query = parse_query("SELECT 1 FROM a")
    assert next_lines(query) == []
    assert not hints_of(query, [])


@given(queries, seeds)
def test_without_sides_every_way_to_swap_inputs_is_one_sequence_of_lines(query, seed):
    rng = Random(seed)
    hints = random_hints(query, rng, methods=False, scans=False)

    def swapped(tree):
        if not isinstance(tree, Join):
            return tree
        sides = [swapped(tree.left), swapped(tree.right)]
        return Join(*sides) if rng.random() < 0.5 else Join(*reversed(sides))

    other = PlanHints(leading=tuple(Leading(swapped(each.tree)) for each in hints.leading))
    if not misfits(other, query):
        assert unsided(other, query) == unsided(hints, query)
    lines = lines_of(unsided(hints, query), query)
    for place, line in enumerate(lines):
        assert line in next_lines(query, lines[:place], free=True, sides=False)
    assert next_lines(query, lines, free=True, sides=False) == []


def test_without_sides_a_chain_has_half_the_first_lines():
    lines = [line for line in next_lines(PARSED[0], free=True, sides=False) if line.startswith("Join")]
    assert lines == ["Join(a b)", "Join(b c)", "Join(c d)"]
