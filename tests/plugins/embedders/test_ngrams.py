"""Queries by their text."""

import pytest

from trellis import build
from trellis.sql.reader import parse_query
from trellis_embed.ngrams import normal_text


def cosine(one, other):
    a, b = build("ngrams").embed([parse_query(one), parse_query(other)])
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT\n  X -- so\nFROM t", "select x from t"),
        ("SELECT /* a\n 'b' */ 'It''s -- A'", "select 'It''s -- A'"),
        ('SELECT "X  y"', 'select "X  y"'),
    ],
)
def test_layout_case_and_comments_go_and_quoted_text_stays(text, expected):
    assert normal_text(text) == expected


def test_the_more_text_is_shared_the_closer():
    base = "SELECT count(*) FROM users u, posts p WHERE u.id = p.owner AND u.age > 30"
    same, near, far = base.replace(" FROM", "\nfrom"), base.replace("30", "31"), "SELECT max(z) FROM shops"
    assert cosine(base, same) == pytest.approx(1)
    assert 1 > cosine(base, near) > 0.9 > 0.5 > cosine(base, far)
