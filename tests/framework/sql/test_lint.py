import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.errors import HintSyntaxError
from trellis.sql import lint, mended, parse_hints
from trellis.sql.keywords import KEYWORDS, MISTAKES

SEFRQO = "NestedLoop(p u)\nBitmapHeapScan(p)\nSeqScan(u)\nNestedLoop(p u v)\nIndexScan(v)\nLeading((u p) v)"
"""As the released SEFRQO prompts write hints, with the parentheses that their examples call invalid."""

PIECES = [*KEYWORDS, *MISTAKES, "(", ")", " ", "\n", "a", "b", '"A"', "Set(enable_sort off)", "Rows", ",", "/*+", "*/"]
texts = st.text(max_size=120) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def places(findings):
    return [(finding.severity, finding.line, finding.column) for finding in findings]


def messages(text, **options):
    return [finding.message for finding in lint(text, **options)]


def test_a_good_text_has_no_findings():
    assert lint("SeqScan(a)\nHashJoin(a b)\nLeading((a b))") == []
    assert lint("/*+ SeqScan(a) HashJoin(a b) */ SELECT 1 FROM a, b", dialect="pg_hint_plan") == []


def test_every_problem_is_reported_not_only_the_first():
    text = "NestedLoop(p u) foo(x (y)) SeqScan(p)\nLeading((u, p) v)\nbar(a)\nSet(work_mem 1) Rows(a b #9) SeqScan(p)\nHashJoin(a"
    findings = lint(text)
    assert places(findings) == [
        ("error", 1, 1),
        ("error", 1, 17),
        ("error", 2, 11),
        ("error", 3, 1),
        ("error", 4, 5),
        ("error", 4, 17),
        ("error", 4, 30),
        ("error", 5, 11),
    ]
    assert all(text[finding.position :].strip() or finding.position == len(text) for finding in findings)
    assert "a second scan hint for p" in findings[6].message


def test_a_hint_behind_a_missing_parenthesis_is_still_read():
    findings = lint("HashJoin(a b\nNestLoop(a)\nLeading((a b)\nSeqScan(a)\nSeqScan(a)")
    assert places(findings) == [("error", 2, 1), ("error", 2, 11), ("error", 4, 1), ("error", 5, 1)]


def test_the_first_finding_is_what_the_parser_says():
    for text in ("NestedLoop(a b)", "Leading(a b c)", "SeqScan(a) SeqScan(a)", "/*+ SeqScan(a)", "HashJoin(a"):
        with pytest.raises(HintSyntaxError) as caught:
            parse_hints(text)
        assert str(caught.value).endswith(lint(text)[0].message)


def test_what_sefrqo_writes_is_mended():
    fixed = mended(SEFRQO)
    assert fixed == "NestLoop(p u)\nBitmapScan(p)\nSeqScan(u)\nNestLoop(p u v)\nIndexScan(v)\nLeading(((u p) v))"
    assert lint(fixed) == []
    assert [finding.suggestion for finding in lint(SEFRQO)] == [
        "NestLoop(p u)",
        "BitmapScan(p)",
        "NestLoop(p u v)",
        "Leading(((u p) v))",
    ]


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("Bitmap Heap Scan(a)", "BitmapScan(a)"),
        ("Nested Loop (a b)", "NestLoop (a b)"),
        ("Leading(a b c)", "Leading(((a b) c))"),
        ("Leading((a b) (c d))", "Leading(((a b) (c d)))"),
        ("Leading((a b c d))", "Leading((((a b) c) d))"),
        ("Leading(((a b)))", "Leading((a b))"),
        ("Leading(((a) b) c)", "Leading(((a b) c))"),
        ("Leading(((a b) c)\nHashJoin(a b", "Leading(((a b) c))\nHashJoin(a b)"),
        ("HashJoin(a, b,c)", "HashJoin(a b c)"),
        ("Set(enable_sort = false)", "Set(enable_sort  off)"),
        ("Set(enable_sort 0)", "Set(enable_sort off)"),
        ("SeqScan(a); SeqScan(b);", "SeqScan(a) SeqScan(b)"),
        ("SeqScan(a)) SeqScan(b)", "SeqScan(a) SeqScan(b)"),
        ("SeqScan(a) SeqScan(A)", "SeqScan(a) "),
        ("/*+ SeqScan(a)", "/*+ SeqScan(a) */"),
    ],
)
def test_a_mechanical_mistake_is_mended(text, fixed):
    assert mended(text) == fixed
    parse_hints(fixed)


@pytest.mark.parametrize(
    "text",
    [
        "SeqScam(a)",
        "Rows(a b #10)",
        "HashJoin(a)",
        "SeqScan(a i)",
        "SeqScan(a) IndexScan(a)",
        "Leading((a a))",
        "Set(work_mem 64)",
        "SeqScan(public.a)",
        'SeqScan("a)',
    ],
)
def test_what_takes_a_guess_is_left_alone(text):
    assert mended(text) == text
    assert lint(text)


@given(text=texts)
def test_lint_never_raises_and_finds_an_error_exactly_where_the_parser_does(text):
    findings = lint(text)
    assert all(0 <= finding.position <= len(text) for finding in findings)
    assert [finding.position for finding in findings] == sorted(finding.position for finding in findings)
    try:
        parse_hints(text)
    except HintSyntaxError:
        assert any(finding.severity == "error" for finding in findings)
    else:
        assert findings == []
    lint(text, dialect="pg_hint_plan")


@given(text=texts)
def test_mending_ends_and_leaves_nothing_mechanical(text):
    fixed = mended(text)
    assert mended(fixed) == fixed
    assert all(finding.mend is None for finding in lint(fixed))


def test_a_text_that_is_too_long_is_one_finding():
    (finding,) = lint("SeqScan(a) " * 2000)
    assert "at most 16384" in finding.message


def test_pg_hint_plan_drops_what_stands_behind_an_error():
    said = messages("HashJoin(a b) NestedLoop(a b c) SeqScan(a) Leading((a b))", dialect="pg_hint_plan")
    dropped = "it drops everything from here on, here SeqScan(a); Leading((a b))"
    assert [dropped in message for message in said] == [False, True]
    assert dropped not in " ".join(messages("HashJoin(a b) NestedLoop(a b c) SeqScan(a)"))


def test_pg_hint_plan_does_not_fold_names():
    findings = lint('SeqScan(P) HashJoin(p "P")', dialect="pg_hint_plan")
    assert [(finding.severity, finding.position, finding.suggestion) for finding in findings] == [("warning", 8, "p")]
    assert "would not be used" in findings[0].message


def test_pg_hint_plan_calls_an_index_that_is_not_there_used():
    (finding,) = lint("IndexScan(p nope)", dialect="pg_hint_plan")
    assert finding.severity == "info"
    assert "even if nope does not exist" in finding.message


@pytest.mark.parametrize(
    ("text", "says", "position"),
    [
        ("-- by me\n/*+ SeqScan(a) */ SELECT 1", "behind another comment", 0),
        ("/* by me */ /*+ SeqScan(a) */ SELECT 1", "behind another comment", 0),
        ("/*+ SeqScan(a) */ SELECT 1 /*+ SeqScan(b) */", "refuses the query since PostgreSQL 17", 27),
        ("/*+ SeqScan(a) /* small */ SELECT 1", "drops all hints of a comment with a comment inside", 15),
        ("/* SeqScan(a) */ SELECT 1", "from a comment '/*+ … */' alone", 0),
    ],
)
def test_pg_hint_plan_finds_hints_in_one_comment_only(text, says, position):
    warnings = [finding for finding in lint(text, dialect="pg_hint_plan") if finding.severity == "warning"]
    assert next((says in finding.message, finding.position) for finding in warnings) == (True, position)


def test_positions_in_a_statement_are_those_of_the_statement():
    text = "SELECT /*+ SeqScan(a)\n NestedLoop(a b) */ 1"
    error = next(finding for finding in lint(text, dialect="pg_hint_plan") if finding.severity == "error")
    assert text[error.position :].startswith("NestedLoop")
    assert (error.line, error.column) == (2, 2)
    assert text[error.mend.start : error.mend.stop] == "NestedLoop"
