"""What makes two queries alike, and that nothing else does."""

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import build
from trellis.sql.reader import parse_query
from trellis_embed.config import SQLFeaturesConfig
from trellis_embed.sql_features import SQLFeatures, query_features


def query(age=30, day="2014-01-01", kinds="1, 2", names=("u", "p", "v"), seed=None):
    u, p, v = names
    items = [f"users {u}", f"posts {p}", f"votes {v}"]
    conditions = [
        f"{u}.id = {p}.owner",
        f"{v}.post = {p}.id",
        f"{u}.age > {age}",
        f"{p}.day < '{day}'::timestamp",
        f"{v}.kind IN ({kinds})",
    ]
    if seed is not None:
        Random(seed).shuffle(items)
        Random(seed).shuffle(conditions)
    return parse_query(f"SELECT count(*) FROM {', '.join(items)} WHERE {' AND '.join(conditions)}")


def cosine(one, other, **config):
    a, b = SQLFeatures(SQLFeaturesConfig(**config)).embed([one, other])
    return sum(x * y for x, y in zip(a, b, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.permutations(["u", "p", "v", "a1", "zz"]), st.integers(0, 1000))
def test_aliases_and_order_do_not_matter(names, seed):
    assert cosine(query(), query(names=names[:3], seed=seed)) == pytest.approx(1)


def test_orders_of_aliases_do_not_show_in_conditions_of_several_relations():
    one = parse_query("SELECT 1 FROM a x, b y WHERE x.i = y.i OR x.j < y.j")
    other = parse_query("SELECT 1 FROM a y, b x WHERE y.j < x.j OR x.i = y.i")
    assert cosine(one, other) == pytest.approx(1)


@pytest.mark.parametrize(
    ("near", "far", "farther"),
    [
        ({"age": 33}, {"age": 60}, {"age": 5000}),
        ({"day": "2014-01-20"}, {"day": "2014-09-01"}, {"day": "2019-01-01"}),
        ({"kinds": "2, 1"}, {"kinds": "1, 2, 3"}, {"kinds": "900, 700"}),
    ],
)
def test_closer_constants_are_closer(near, far, farther):
    cosines = [cosine(query(), query(**change)) for change in (near, far, farther)]
    assert 1 > cosines[0] + 1e-9 > cosines[1] > cosines[2] or cosines[0] == pytest.approx(1)
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[2] < cosines[0] - 0.005


def test_structure_weighs_more_than_constants():
    far = query(age=10**9, day="1800-01-01", kinds="-5")
    fewer = parse_query(
        "SELECT 1 FROM users u, posts p WHERE u.id = p.owner AND u.age > 30 AND p.day < '2014-01-01'::timestamp"
    )
    other = parse_query("SELECT 1 FROM shops s, goods g WHERE s.id = g.shop")
    assert 1 > cosine(query(), far) > cosine(query(), fewer) > cosine(query(), other)
    assert abs(cosine(query(), other)) < 0.1


def test_another_operator_or_column_is_another_filter():
    base = parse_query("SELECT 1 FROM a WHERE a.x > 3")
    assert (
        1
        > cosine(base, parse_query("SELECT 1 FROM a WHERE a.x < 3"))
        > cosine(base, parse_query("SELECT 1 FROM a WHERE a.y < 3"))
    )


def test_two_relations_of_one_table_are_two():
    one = parse_query("SELECT 1 FROM a, b WHERE a.x = b.x")
    two = parse_query("SELECT 1 FROM a, a c, b WHERE a.x = b.x AND c.x = b.x")
    assert cosine(one, two) < 0.95


@pytest.mark.parametrize(
    ("condition", "template", "constants"),
    [
        ("a.x > -3.5", "t: t.x > ?", ["-3.5"]),
        ("a.x BETWEEN 1 AND 2e3", "t: t.x BETWEEN ? AND ?", ["1", "2e3"]),
        ("a.x IN ('it''s', 'b')", "t: t.x IN (?)", ["'it''s'", "'b'"]),
        ("a.x LIKE '%a.x%'", "t: t.x LIKE ?", ["'%a.x%'"]),
        ("a.x1 + 1 < 10", "t: t.x1 + ? < ?", ["1", "10"]),
        ('a."Odd ""1"".x" = 7', 't: t."Odd ""1"".x" = ?', ["7"]),
        ("a.x > now() - interval '3 days'", "t: t.x > CURRENT_TIMESTAMP - INTERVAL ?", ["'3 DAYS'"]),
    ],
)
def test_conditions_are_read_as_templates_and_constants(condition, template, constants):
    structure, literals = query_features(parse_query(f"SELECT 1 FROM t a WHERE {condition}"))
    assert template in structure["filter"]
    assert {name.split(" is ", 1)[1] for name in literals if " is " in name} == set(constants)


def test_subqueries_and_outer_joins_count():
    base = parse_query("SELECT 1 FROM a JOIN b ON a.x = b.x")
    assert cosine(base, parse_query("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x")) < 0.99
    inside = parse_query(
        "SELECT 1 FROM a JOIN b ON a.x = b.x WHERE EXISTS (SELECT 1 FROM c WHERE c.y = a.y AND c.z = 4)"
    )
    assert cosine(base, inside) < 0.9


def test_a_query_of_nothing_known_is_zeros():
    assert set(SQLFeatures(SQLFeaturesConfig()).embed([parse_query("SELECT 1")])[0]) == {0.0}


def test_another_process_makes_the_same_vectors():
    program = (
        "from trellis import build; from trellis.sql.reader import parse_query;"
        f"print(build('sql-features').embed([parse_query({query().sql!r})])[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(build("sql-features").embed([query()])[0])


def test_the_version_says_what_vectors_mean():
    assert build("sql-features").version == build("sql-features").version
    assert (
        len({build("sql-features", {"literals": w, "dimension": d}).version for w in (0.5, 1.0) for d in (64, 128)})
        == 4
    )


def test_weights_of_zero_leave_a_group_out():
    assert cosine(query(), query(age=7000, day="1999-01-01", kinds="77"), literals=0.0) == pytest.approx(1)
