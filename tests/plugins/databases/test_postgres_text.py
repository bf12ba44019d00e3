"""What needs no server: digests, the lexical reading, plans, dialects as text, configurations."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis.errors import HintError, QuerySyntaxError, UnsafeQueryError
from trellis.sql import parse_hints
from trellis.sql.digest import RowDigest
from trellis.sql.reader import parse_query
from trellis_postgres.config import PostgresConfig
from trellis_postgres.dialects.pg_hint_plan import HintReport, PgHintPlan, read_reports
from trellis_postgres.dialects.pg_plan_advice import PgPlanAdvice
from trellis_postgres.lexer import Call, read_text
from trellis_postgres.plan import parse_plan

ROWS = st.lists(st.lists(st.none() | st.binary(max_size=3), min_size=2, max_size=2), max_size=8)


def digest(rows, columns=(b"a", b"b")):
    taken = RowDigest()
    for row in rows:
        taken.add(row)
    return taken.hexdigest(columns)


@given(ROWS, st.integers())
def test_a_digest_does_not_depend_on_order(rows, seed):
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert digest(shuffled) == digest(rows)


@given(ROWS, ROWS)
def test_a_digest_tells_different_rows_apart(left, right):
    def key(row):
        return [(value is not None, value or b"") for value in row]

    assert (digest(left) == digest(right)) == (sorted(left, key=key) == sorted(right, key=key))


def test_a_digest_tells_columns_and_the_borders_of_values_apart():
    assert digest([]) != digest([], (b"a", b"c"))
    assert digest([[b"a", b"bc"]]) != digest([[b"ab", b"c"]])


@given(st.text())
def test_any_text_is_read_or_refused_with_a_reason(text):
    with contextlib.suppress(QuerySyntaxError, UnsafeQueryError):
        assert all(call.name in read_text(text).names for call in read_text(text).calls)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'f(1)'", "SELECT $$f(1)$$", "SELECT $a$ $$ f(1) $a$", "SELECT E'\\'f(1)'", "SELECT 1 -- f(1)",
        "SELECT /* /* f(1) */ f(2) */ 1", 'SELECT "f(1)"', "SELECT 'it''s f(1)'", "SELECT f AS x", "SELECT 'a\\' AS f",
        "SELECT E'a'\n  '\\'f(1)'", "SELECT B'1', X'1F', N'f(1)'",
    ],
)  # fmt: skip
def test_what_is_no_call_is_none(sql):
    assert Call(None, "f") not in read_text(sql).calls


@pytest.mark.parametrize(
    ("sql", "call"),
    [
        ("SELECT F (1)", Call(None, "f")),
        ("SELECT f/* x */\n--\n(1)", Call(None, "f")),
        ('SELECT "S" . "F"(1)', Call("S", "F")),
        ("SELECT a.S.f(1)", Call("s", "f")),
        ("SELECT a$f(1)", Call(None, "a$f")),
        ("SELECT été(1)", Call(None, "été")),
    ],
)
def test_a_call_is_found_as_the_server_finds_it(sql, call):
    assert call in read_text(sql).calls


@pytest.mark.parametrize("sql", ["SELECT 'a\\'||f(1)||'", "SELECT $1f$ $1f$"])
def test_a_text_that_another_reading_would_let_through_is_refused(sql):
    with pytest.raises((QuerySyntaxError, UnsafeQueryError)):
        read_text(sql)


def test_an_error_says_where():
    with pytest.raises(QuerySyntaxError) as caught:
        read_text("SELECT 1,\n  'abc")
    assert (caught.value.line, caught.value.column) == (2, 3)


@pytest.mark.parametrize(
    ("kind", "join_type"), [("Inner", "inner"), ("Right", "right"), ("Right Anti", "anti"), ("Right Semi", "semi")]
)
def test_join_types_are_those_of_every_database(kind, join_type):
    scans = '[{"Node Type": "Seq Scan", "Alias": "a"}, {"Node Type": "Seq Scan", "Alias": "b"}]'
    plan = parse_plan(f'[{{"Plan": {{"Node Type": "Hash Join", "Join Type": "{kind}", "Plans": {scans}}}}}]')
    assert (plan.join_type, plan.aliases()) == (join_type, {"a", "b"})


def test_a_partitions_made_up_alias_is_its_tables():
    text = '[{"Plan": {"Node Type": "Append", "Plans": [{"Node Type": "Seq Scan", "Alias": "t_1"}]}}]'
    assert parse_plan(text).aliases() == {"t_1"}
    assert parse_plan(text, aliases=["t"]).aliases() == {"t"}
    assert parse_plan(text, aliases=["t", "t_1"]).aliases() == {"t_1"}


STAR = parse_query("SELECT * FROM f, d, e, g WHERE f.d = d.id AND f.e = e.id AND e.g = g.id")
NESTED = parse_query('SELECT * FROM f JOIN "D" ON f.d = "D".id WHERE f.x IN (SELECT s.x FROM s, t WHERE s.y = t.y)')


def test_pg_hint_plan_is_asked_in_a_comment_in_front():
    statement = PgHintPlan().hinted(STAR, parse_hints("HashJoin(d f) IndexScan(d d_pkey) Leading(((f d) (e g)))"))
    assert statement.sql == f"/*+ IndexScan(d d_pkey) HashJoin(d f) Leading(((f d) (e g))) */ {STAR.sql}"
    assert statement.settings == {"geqo": "off", "join_collapse_limit": "8", "from_collapse_limit": "8"}
    assert statement.untouched == {}


def test_pg_hint_plan_is_asked_for_one_order_and_the_other_is_said():
    statement = PgHintPlan().hinted(NESTED, parse_hints('Leading((s t)) Leading((f "D"))'))
    assert len(statement.untouched) == 1
    assert statement.sql.count("Leading") == 1


def test_pg_hint_plan_quotes_names_and_refuses_those_that_end_its_comment():
    statement = PgHintPlan().hinted(NESTED, parse_hints('SeqScan("D")'))
    assert statement.sql.startswith('/*+ SeqScan("D") */')
    for name in ("*/ DROP", "/* x"):
        query = parse_query(f'SELECT * FROM t "{name}"')
        with pytest.raises(HintError, match="comment"):
            PgHintPlan().hinted(query, parse_hints(f'SeqScan("{name}")'))


def test_what_pg_hint_plan_reports_is_read():
    notice = (
        "pg_hint_plan:\nused hint:\nSeqScan(c)\nLeading((((c u) o) (x (y z))))\nnot used hint:\nHashJoin(c x)\n"
        'duplication hint:\nSeqScan("a (b")\nerror hint:\nSet(enable_hashjoin off)\n'
    )
    assert read_reports(["something else", notice]) == [
        HintReport("SeqScan(c)", "used"),
        HintReport("Leading((((c u) o) (x (y z))))", "used"),
        HintReport("HashJoin(c x)", "not used"),
        HintReport('SeqScan("a (b")', "duplicate"),
        HintReport("Set(enable_hashjoin off)", "error"),
    ]


@pytest.mark.parametrize(
    ("hints", "advice"),
    [
        ("Leading((((f d) e) g))", "JOIN_ORDER(f d e g)"),
        ("Leading(((f d) (e g)))", "JOIN_ORDER(f d (e g))"),
        ("Leading((g (e (d f))))", "JOIN_ORDER(g (e (d f)))"),
        ("HashJoin(d f) Leading(((f d) e))", "JOIN_ORDER(f d e) HASH_JOIN(d)"),
        (
            "MergeJoin(d e f g) NestLoop(e g) Leading(((f d) (e g)))",
            "JOIN_ORDER(f d (e g)) NESTED_LOOP_PLAIN(g) MERGE_JOIN_PLAIN((e g))",
        ),
        ("SeqScan(f) BitmapScan(d)", "BITMAP_HEAP_SCAN(d) SEQ_SCAN(f)"),
        ("IndexScan(d d_pkey) IndexOnlyScan(e e_idx)", "INDEX_SCAN(d d_pkey) INDEX_ONLY_SCAN(e e_idx)"),
    ],
)
def test_pg_plan_advice_is_written(hints, advice):
    statement = PgPlanAdvice().hinted(STAR, parse_hints(hints))
    assert statement.sql == STAR.sql
    assert statement.settings["pg_plan_advice.advice"] == advice
    assert statement.untouched == {}


@pytest.mark.parametrize(
    ("query", "hints", "word"),
    [
        (STAR, "HashJoin(d f)", "inner input"),
        (STAR, "IndexScan(d)", "index"),
        (STAR, "BitmapScan(d d_pkey)", "bitmap"),
        (NESTED, "Leading((s t))", "subquery"),
        (NESTED, "SeqScan(s)", "subquery"),
        (NESTED, "HashJoin(s t)", "subquery"),
    ],
)
def test_what_pg_plan_advice_cannot_ask_for_is_said(query, hints, word):
    (reason,) = PgPlanAdvice().hinted(query, parse_hints(hints)).untouched.values()
    assert word in reason


def test_pg_plan_advice_quotes_names_and_takes_switches_as_settings():
    statement = PgPlanAdvice().hinted(NESTED, parse_hints('SeqScan("D") Set(enable_hashjoin off)'))
    assert statement.settings["pg_plan_advice.advice"] == 'SEQ_SCAN("D")'
    assert statement.settings["enable_hashjoin"] == "off"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dsn": "dbname=x", "directory": "/tmp/x"}, "leave `directory`"),
        ({"role": "reader"}, "embedded"),
        ({"settings": {"Statement_Timeout": "0"}}, "the backend sets that itself"),
        ({"lock_timeout_ms": 0}, "greater than 0"),
        ({"dialect": "oracle"}, "rewrite"),
        ({"extra_float_digits": 4}, "less than or equal to 3"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        PostgresConfig(**fields)
