import random
from collections import Counter

import pytest
from tests.framework.sql.conftest import cases

from trellis.sql.hints import Leading, PlanHints
from trellis.sql.orders import random_tree
from trellis.sql.reader import parse_query
from trellis.sql.rewrite import rewrite

CORPUS = cases("corpus.sql")


def answer(connection, sql):
    cursor = connection.execute(sql)
    return [column.name for column in cursor.description], Counter(map(repr, cursor.fetchall()))


@pytest.mark.parametrize("title", CORPUS)
@pytest.mark.parametrize("with_catalog", [True, False])
def test_a_rewritten_query_returns_what_the_query_returns(shop, catalog, title, with_catalog):
    sql = CORPUS[title]
    query = parse_query(sql, catalog=catalog if with_catalog else None)
    expected = answer(shop, sql)
    rng = random.Random(title)
    for number in range(12):
        trees = [random_tree(block, rng, bushy=number % 3 > 0, cross_products=number % 2 > 0) for block in query.blocks]
        hints = PlanHints(leading=tuple(Leading(tree) for tree in trees if tree is not None))
        text, untouched = rewrite(query, hints)
        assert not set(untouched) & {str(hint) for hint in hints.leading} or not with_catalog, untouched
        assert answer(shop, text) == expected, text
