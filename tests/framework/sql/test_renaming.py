"""Hints under other names, and back."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.errors import HintError
from trellis.sql import check_hints, gbnf, parse_hints, random_hints
from trellis.sql.reader import parse_query
from trellis.sql.renaming import Renaming

QUERY = parse_query(
    "SELECT 1 FROM city c LEFT JOIN (person p JOIN sale s ON p.id = s.p) ON p.c = c.id, item i WHERE i.id = c.x AND i.y = 3 "
    "AND EXISTS (SELECT 1 FROM tag g, visit v WHERE g.x = v.x AND v.c = c.id)"
)


@given(st.integers(0, 2**32))
def test_hints_under_other_names_come_back_as_they_were(seed):
    renaming = Renaming.canonical(QUERY)
    hints = random_hints(QUERY, Random(seed))
    renamed = renaming.apply(hints)
    assert renaming.undo(renamed) == hints
    assert parse_hints(str(renamed)) == renamed
    check_hints(renamed, renaming.query(QUERY))


def test_corresponding_hints_of_two_writings_of_a_query_are_one_under_canonical_names():
    one = parse_query("SELECT 1 FROM a x, b y, c z WHERE x.i = y.i AND y.j = z.j")
    other = parse_query("SELECT 1 FROM c p, a q, b r WHERE r.j = p.j AND q.i = r.i")
    names = {"x": "q", "y": "r", "z": "p"}
    hints = parse_hints("SeqScan(x) IndexScan(y b_i) HashJoin(x y) Leading(((y x) z)) Set(enable_sort off)")
    assert Renaming.canonical(one).apply(hints) == Renaming.canonical(other).apply(Renaming(names).apply(hints))


def test_a_name_that_stands_for_nothing_is_refused_with_those_that_do():
    with pytest.raises(HintError, match="t9") as caught:
        Renaming({"a": "t1", "b": "t2"}).undo(parse_hints("Leading((t1 t9))"))
    assert caught.value.choices == ("t1", "t2")
    with pytest.raises(HintError, match="no c"):
        Renaming({"a": "t1"}).apply(parse_hints("SeqScan(c)"))


def test_without_names_nothing_changes():
    hints = parse_hints("Leading((a b))")
    assert Renaming().undo(Renaming().apply(hints)) == hints
    assert Renaming().query(QUERY) is QUERY


def test_two_aliases_with_one_name_are_refused():
    with pytest.raises(ValueError, match="one name"):
        Renaming({"a": "t1", "b": "t1"})


def test_the_grammar_of_a_renamed_query_holds_its_names_alone():
    text = gbnf(Renaming.canonical(QUERY).query(QUERY))
    assert '"t1"' in text
    assert '"c"' not in text
