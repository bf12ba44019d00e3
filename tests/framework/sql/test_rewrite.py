import pickle
import random
import re

import pytest
from tests.framework.sql.conftest import DATA

from trellis.errors import HintError
from trellis.sql.hints import Join, Leading, PlanHints
from trellis.sql.orders import random_tree
from trellis.sql.reader import parse_query
from trellis.sql.rewrite import rewrite


def trees(text):
    """Read "(a (b c)), (d e)"."""

    def read(words):
        word = words.pop(0)
        if word != "(":
            return word
        tree = Join(read(words), read(words))
        words.pop(0)
        return tree

    words = re.findall(r"[()]|\w+", text)
    found = []
    while words:
        found.append(read(words))
    return found


def hinted(text):
    return PlanHints(leading=tuple(Leading(tree) for tree in trees(text)))


def pairs():
    for part in re.split(r"^-- (?==>)|^-- (?=.*: \()", (DATA / "rewrite.sql").read_text(), flags=re.MULTILINE)[1:]:
        yield part.split("\n", 1)


PARTS = list(pairs())


@pytest.mark.parametrize("number", range(0, len(PARTS), 2), ids=lambda number: PARTS[number][0])
def test_the_text_becomes_what_is_written_beside_it(catalog, number):
    (title, before), (_, after) = PARTS[number : number + 2]
    text, untouched = rewrite(parse_query(before.strip(), catalog=catalog), hinted(title.split(": ", 1)[1]))
    assert text == after.strip()
    assert untouched == {}


def test_without_a_leading_hint_the_text_is_the_query_s_own():
    sql = "SELECT  1 FROM a JOIN b ON a.x = b.x JOIN c ON c.x=b.x"
    assert rewrite(parse_query(sql), PlanHints()) == (sql, {})


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1 FROM a FULL JOIN b ON a.x = b.x", "FULL JOIN"),
        ("SELECT 1 FROM a, LATERAL (SELECT a.x) b", "LATERAL"),
        ("SELECT 1 FROM a, unnest(a.xs) AS b", "reads the relations before it"),
        ("SELECT 1 FROM (a JOIN b ON a.x = b.x) AS j", "an alias of its own"),
        ("SELECT 1 FROM a JOIN b USING (x)", "catalog"),
        ("SELECT 1 FROM a NATURAL JOIN b", "catalog"),
        ("SELECT 1 FROM a LEFT JOIN b ON x = y", "qualify it"),
    ],
)
def test_a_block_that_cannot_be_reordered_is_left_as_it_is_and_the_reason_given(sql, why):
    query = parse_query(sql)
    text, untouched = rewrite(query, hinted("(a b)"))
    assert text == sql
    assert why in untouched["Leading((a b))"]
    assert why in query.blocks[0].fixed
    assert random_tree(query.blocks[0], random.Random(1)) is None


def test_using_columns_of_two_types_fix_the_block(catalog):
    query = parse_query("SELECT * FROM big JOIN city USING (id)", catalog=catalog)
    assert "two types" in query.blocks[0].fixed


def test_a_block_that_stays_in_its_written_order_is_named():
    query = parse_query(
        "SELECT 1 FROM a, b WHERE EXISTS (SELECT 1 FROM c LEFT JOIN d ON c.x = d.x JOIN e ON e.x = c.x WHERE c.x = a.x)"
    )
    text, untouched = rewrite(query, hinted("(b a)"))
    assert "FROM b CROSS JOIN a" in text
    assert "the order it is written" in untouched["a subquery in WHERE"]


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ("(a (b c))", "before a"),
        ("((c a) b)", "right input"),
        ("((b c) a)", "before a"),
        ("(a b)", "leaves out c"),
        ("((a b) x)", "has no x"),
        ("(((a b) c) a)", "names a twice"),
    ],
)
def test_an_order_that_is_not_legal_is_refused(tree, why):
    query = parse_query("SELECT 1 FROM a JOIN b ON a.x = b.x LEFT JOIN c ON c.x = a.x")
    with pytest.raises(HintError, match=why):
        rewrite(query, hinted(tree))


def test_aliases_of_two_blocks_cannot_say_which_is_meant():
    query = parse_query("SELECT 1 FROM a, b WHERE EXISTS (SELECT 1 FROM a, b)")
    assert not any(relation.hintable for relation in query.relations)
    with pytest.raises(HintError, match="several blocks"):
        rewrite(query, hinted("(a b)"))


def test_a_rewritten_text_comes_from_memory_the_second_time():
    query = parse_query("SELECT 1 FROM a, b, c")
    first = rewrite(query, hinted("((c b) a)"))
    assert rewrite(query, hinted("((c b) a)"))[0] is first[0]


def test_a_query_from_another_process_can_be_rewritten(catalog):
    query = parse_query("SELECT * FROM item i JOIN sale s USING (item_id), city c", catalog=catalog)
    copy = pickle.loads(pickle.dumps(query))
    assert copy == query
    assert rewrite(copy, hinted("((c s) i)")) == rewrite(query, hinted("((c s) i)"))
