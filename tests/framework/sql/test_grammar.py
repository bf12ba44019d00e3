import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trellis.errors import HintSyntaxError
from trellis.sql import (
    SWITCHES,
    Join,
    JoinHint,
    JoinMethod,
    Leading,
    PlanHints,
    ScanHint,
    ScanMethod,
    Switch,
    parse_hints,
)
from trellis.sql.grammar import MAX_DEPTH
from trellis.sql.hints import left_deep, tree_aliases
from trellis.sql.keywords import KEYWORDS, MISTAKES, OTHER_KEYWORDS
from trellis.sql.tokens import MAX_CHARS

MALFORMED = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "malformed_hints.jsonl").read_text().splitlines()
]

names = st.one_of(
    st.sampled_from(
        ["a", "b", "c", "movie_info_idx", "set", "leading", "SeqScan", "A", "a b", 'say "hi"', "日本", "a*/", "1x"]
    ),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8),
)


@st.composite
def trees(draw, aliases):
    """A tree over these aliases in this order."""
    if len(aliases) == 1:
        return aliases[0]
    cut = draw(st.integers(1, len(aliases) - 1))
    return Join(draw(trees(aliases[:cut])), draw(trees(aliases[cut:])))


@st.composite
def plan_hints(draw):
    aliases = draw(st.lists(names, min_size=4, max_size=9, unique=True))
    cut = draw(st.integers(2, len(aliases) - 2))
    leading = [Leading(draw(trees(part))) for part in (aliases[:cut], aliases[cut:]) if draw(st.booleans())]
    scans = []
    for alias in aliases:
        if draw(st.booleans()):
            method = draw(st.sampled_from(ScanMethod))
            index = draw(st.none() | names) if method.takes_index else None
            scans.append(ScanHint(alias, method, index))
    sets = draw(st.lists(st.frozensets(st.sampled_from(aliases), min_size=2), max_size=4, unique=True))
    joins = [JoinHint(each, draw(st.sampled_from(JoinMethod))) for each in sets]
    switches = [
        Switch(name, draw(st.booleans())) for name in draw(st.lists(st.sampled_from(SWITCHES), max_size=3, unique=True))
    ]
    return PlanHints(tuple(scans), tuple(joins), tuple(leading), tuple(switches))


@given(hints=plan_hints(), separator=st.sampled_from([" ", "\n"]))
def test_what_is_rendered_is_read_back_as_it_was(hints, separator):
    text = hints.render(separator)
    assert parse_hints(text) == hints
    assert parse_hints(f"/*+ {text}\n*/") == hints


fragments = st.sampled_from(
    [
        *KEYWORDS,
        *MISTAKES,
        *OTHER_KEYWORDS,
        *SWITCHES,
        "(",
        ")",
        " ",
        "\n",
        "a",
        "b",
        '"',
        '""',
        "on",
        "off",
        "/*+",
        "*/",
        ",",
    ]
)


@given(text=st.text(max_size=200) | st.lists(fragments, max_size=40).map("".join))
@example("Leading(" * 2000)
@example("Leading(" + "(" * 16000)
@example("Leading(" + " ".join(f"a{number}" for number in range(2500)) + ")")
@example("\ud800")
def test_any_text_is_read_or_refused_with_a_place(text):
    hints, error = read(text)
    if error is None:
        assert parse_hints(str(hints)) == hints
    else:
        assert 0 <= error.position <= len(text)
        assert error.line == text[: error.position].count("\n") + 1
        assert error.column == len(text[: error.position].rsplit("\n", 1)[-1]) + 1


@given(data=st.binary(max_size=200), encoding=st.sampled_from(["utf-8", "latin-1"]))
def test_any_bytes_are_read_or_refused(data, encoding):
    hints, error = read(data.decode(encoding, errors="surrogateescape"))
    assert (hints is None) == (error is not None)


def read(text):
    try:
        return parse_hints(text), None
    except HintSyntaxError as error:
        return None, error


@pytest.mark.parametrize("case", MALFORMED, ids=[repr(case["text"])[:50] for case in MALFORMED])
def test_a_malformed_text_is_refused_with_what_to_write(case):
    with pytest.raises(HintSyntaxError) as caught:
        parse_hints(case["text"])
    message, expected = str(caught.value), case["error"]
    assert message == expected or message.startswith(expected + " Valid: ")


def test_a_wrong_name_comes_with_the_names_that_would_do():
    with pytest.raises(HintSyntaxError) as caught:
        parse_hints("SeqScan(a)\nNestedLoop(a b)")
    assert caught.value.choices == KEYWORDS
    assert (caught.value.line, caught.value.column, caught.value.position) == (2, 1, 11)
    with pytest.raises(HintSyntaxError) as caught:
        parse_hints("Set(statement_timeout 0)")
    assert caught.value.choices == SWITCHES


def test_a_lone_surrogate_is_in_no_name():
    with pytest.raises(HintSyntaxError, match=r"U\+D800"):
        parse_hints('SeqScan("\ud800")')


def test_a_text_may_be_so_long_and_no_longer():
    assert parse_hints("SeqScan(a)" + " " * (MAX_CHARS - 10)) == PlanHints(scans=(ScanHint("a", ScanMethod.SEQ),))
    with pytest.raises(HintSyntaxError, match=f"{MAX_CHARS + 1} characters, at most {MAX_CHARS}"):
        parse_hints("SeqScan(a)" + " " * (MAX_CHARS - 9))


def test_a_tree_may_be_so_deep_and_no_deeper():
    deepest = Leading(left_deep([f"a{number}" for number in range(MAX_DEPTH + 1)]))
    assert parse_hints(str(deepest)).leading == (deepest,)
    with pytest.raises(HintSyntaxError, match=f"nested more than {MAX_DEPTH} deep"):
        parse_hints(str(Leading(Join(deepest.tree, "b"))))


def test_unquoted_names_are_folded_and_quoted_ones_are_not():
    hints = parse_hints('indexscan(Title "Title_Idx") LEADING((T "T")) set(Enable_Sort OFF)')
    assert hints.scans == (ScanHint("title", ScanMethod.INDEX, "Title_Idx"),)
    assert tree_aliases(hints.leading[0].tree) == ("t", "T")
    assert hints.switches == (Switch("enable_sort", on=False),)


def test_only_ascii_letters_are_folded_as_postgresql_does():
    assert parse_hints("SeqScan(ÄB)").scans == (ScanHint("Äb", ScanMethod.SEQ),)


@pytest.mark.parametrize("text", ["", "  \n", "/*+*/", " /*+ */ "])
def test_no_hints_are_hints_too(text):
    assert parse_hints(text) == PlanHints()


def test_sides_and_nesting_stay_as_they_are_written():
    tree = parse_hints("Leading( ( (c a)\n (b d) ) )").leading[0].tree
    assert tree == Join(Join("c", "a"), Join("b", "d"))
