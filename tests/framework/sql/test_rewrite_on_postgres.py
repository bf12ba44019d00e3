import random
import re
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
        if not re.search(r"(SELECT|,)\s+\*", sql):
            again = parse_query(text, catalog=query.reading.catalog)
            assert (again.fingerprint, again.literals) == (query.fingerprint, query.literals), text


TABLES = {
    "city": ("id", "region"),
    "person": ("id", "city_id", "boss_id", "age"),
    "item": ("item_id", "price", "kind"),
    "sale": ("id", "person_id", "item_id", "qty"),
    "tag": ("item_id", "kind"),
}


def random_from(rng, size, aliases):
    """Write joins of any kind, nested in any way; return the text, its relations, and the predicates of WHERE."""
    if size == 1:
        table = rng.choice(sorted(TABLES))
        alias = f"r{len(aliases)}"
        aliases[alias] = table
        return f"{table} {alias}", [alias]
    left_size = rng.randrange(1, size)
    left, ours = random_from(rng, left_size, aliases)
    right, theirs = random_from(rng, size - left_size, aliases)
    if size - left_size > 1:
        right = f"({right})"
    if rng.random() < 0.15:
        return f"{left} CROSS JOIN {right}", ours + theirs
    kind = rng.choice(["JOIN", "INNER JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN"])
    predicates = [random_predicate(rng, ours, theirs, aliases) for _ in range(rng.choice([1, 1, 2]))]
    return f"{left} {kind} {right} ON {' AND '.join(predicates)}", ours + theirs


def column(rng, alias, aliases):
    return f"{alias}.{rng.choice(TABLES[aliases[alias]])}"


def random_predicate(rng, ours, theirs, aliases):
    one, other = column(rng, rng.choice(ours), aliases), column(rng, rng.choice(theirs), aliases)
    return rng.choice(
        [f"{one} = {other}", f"{other} = {one}", f"({one} = {other} OR {other} IS NULL)", f"{one} < 2", f"{other} <> 1"]
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_joins_in_random_orders_return_the_same(shop, catalog, seed):
    rng = random.Random(seed)
    aliases = {}
    parts = [random_from(rng, size, aliases)[0] for size in rng.choice([(3,), (4,), (5,), (2, 2), (1, 3)])]
    names = sorted(aliases)
    where = " AND ".join(random_predicate(rng, names[:2], names[2:], aliases) for _ in range(rng.randrange(3)))
    outputs = rng.choice(["*", "count(*)", ", ".join(column(rng, alias, aliases) for alias in names)])
    sql = f"SELECT {outputs} FROM {', '.join(parts)}" + (f" WHERE {where}" if where else "")
    query = parse_query(sql, catalog=catalog)
    expected = answer(shop, sql)
    for number in range(10):
        tree = random_tree(query.blocks[0], rng, bushy=number % 3 > 0, cross_products=number % 2 > 0)
        text, untouched = rewrite(query, PlanHints(leading=(Leading(tree),)))
        assert untouched == {}
        assert answer(shop, text) == expected, (sql, text)
