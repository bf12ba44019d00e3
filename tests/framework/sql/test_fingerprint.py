import random
from dataclasses import dataclass, replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis.sql.reader import parse_query

COLUMNS = ("x", "y")


@dataclass(frozen=True)
class Shape:
    """A query without names: tables, edges (i, column, j, column), filters (i, column, operator), left-joined relations."""

    tables: tuple[str, ...]
    edges: tuple[tuple[int, str, int, str], ...]
    filters: tuple[tuple[int, str, str], ...] = ()
    lefts: tuple[int, ...] = ()
    counted: int = 0

    def renamed(self, order):
        edges = [sorted(((order[i], a), (order[j], b))) for i, a, j, b in self.edges]
        filters = sorted((order[i], column, operator) for i, column, operator in self.filters)
        tables = [self.tables[order.index(place)] for place in range(len(order))]
        return tables, sorted(edges), filters, sorted(order[i] for i in self.lefts), order[self.counted]

    def isomorphic(self, other):
        size = len(self.tables)
        if size != len(other.tables):
            return False
        own = self.renamed(range(size))
        return any(other.renamed(order) == own for order in permutations(range(size)))


def drawn_names(shape, rng):
    return [f"{rng.choice('pqr')}{number}" for number in rng.sample(range(100), len(shape.tables))]


def write(shape, rng, literals=None, names=None):
    """Write a query of this shape with random names, order, sides, join syntax and layout."""
    size = len(shape.tables)
    names = names or drawn_names(shape, rng)
    space = lambda: rng.choice([" ", "\n", "  ", " /* so */ "])  # noqa: E731

    def equation(edge):
        i, a, j, b = edge
        sides = [f"{names[i]}.{a}", f"{names[j]}.{b}"]
        rng.shuffle(sides)
        return f"{sides[0]} ={space()}{sides[1]}"

    def item(i):
        return f"{shape.tables[i]}{rng.choice([' AS ', ' '])}{names[i]}"

    inner = [i for i in range(size) if i not in shape.lefts]
    rng.shuffle(inner)
    waiting = [edge for edge in shape.edges if not {edge[0], edge[2]} & set(shape.lefts)]
    where = []
    for number, (i, column, operator) in enumerate(shape.filters):
        literal = rng.randrange(99) if literals is None else literals[number]
        flipped = {"<": ">", ">": "<", "=": "="}[operator]
        where.append(
            f"{names[i]}.{column} {operator} {literal}"
            if rng.random() < 0.5
            else f"{literal} {flipped} {names[i]}.{column}"
        )
    clause, seen = item(inner[0]), {inner[0]}
    for i in inner[1:]:
        seen.add(i)
        here = [edge for edge in waiting if {edge[0], edge[2]} <= seen and rng.random() < 0.5]
        waiting = [edge for edge in waiting if edge not in here]
        if here:
            clause += f" JOIN {item(i)} ON {' AND '.join(map(equation, here))}"
        else:
            clause += f"{rng.choice([' CROSS JOIN ', ', ']) if not shape.lefts else ' CROSS JOIN '}{item(i)}"
    if "," in clause:
        # A comma would hide what stands before it from a later ON.
        clause = ", ".join(map(item, inner))
        waiting = [edge for edge in shape.edges if not {edge[0], edge[2]} & set(shape.lefts)]
    lefts = list(shape.lefts)
    rng.shuffle(lefts)
    for i in lefts:
        on = [equation(edge) for edge in shape.edges if i in (edge[0], edge[2])]
        rng.shuffle(on)
        clause += f" LEFT JOIN {item(i)} ON {' AND '.join(on) or 'TRUE'}"
    where += map(equation, waiting)
    rng.shuffle(where)
    condition = f"{space()}WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT{space()}count({names[shape.counted]}.x){space()}FROM {clause}{condition}"


@st.composite
def shapes(draw, max_size=5):
    size = draw(st.integers(2, max_size))
    tables = tuple(draw(st.sampled_from(["t", "t", "u"])) for _ in range(size))
    relation, column = st.integers(0, size - 1), st.sampled_from(COLUMNS)
    # A left-joined relation stands alone on its side: edges go to inner relations only.
    lefts = tuple(sorted(draw(st.sets(st.integers(1, size - 1), max_size=1)))) if size > 2 else ()
    found = draw(st.lists(st.tuples(relation, column, relation, column), max_size=2 * size, unique=True))
    edges = tuple(edge for edge in found if edge[0] < edge[2])
    filters = draw(
        st.lists(
            st.tuples(st.sampled_from([i for i in range(size) if i not in lefts]), column, st.sampled_from("<>=")),
            max_size=3,
        )
    )
    return Shape(tables, edges, tuple(filters), lefts, draw(relation))


def of(text):
    query = parse_query(text)
    return query.fingerprint, query.literals


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(0, 10**6))
def test_names_order_layout_and_literals_leave_a_fingerprint_as_it_is(shape, seed):
    rng = random.Random(seed)
    first, second = write(shape, rng), write(shape, rng)
    assert of(first)[0] == of(second)[0], (first, second)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(0, 10**6))
def test_literals_come_in_an_order_that_belongs_to_the_fingerprint(shape, seed):
    rng = random.Random(seed)
    literals = [rng.randrange(4) for _ in shape.filters]
    first, second = write(shape, rng, literals), write(shape, rng, literals)
    assert of(first) == of(second), (first, second)


@settings(max_examples=100, deadline=None)
@given(shapes(), st.integers(0, 10**6))
def test_relations_that_correspond_have_one_canonical_name(shape, seed):
    rng = random.Random(seed)
    literals = [rng.randrange(4) for _ in shape.filters]
    canonical = []
    for _ in range(2):
        names = drawn_names(shape, rng)
        query = parse_query(write(shape, rng, literals, names))
        places = [int(query.canonical[name][1:]) - 1 for name in names]
        assert sorted(places) == list(range(len(names)))
        written = replace(shape, filters=()).renamed(places)
        filters = zip(shape.filters, literals, strict=True)
        canonical.append(
            (written, sorted(((places[i], column, sign), literal) for (i, column, sign), literal in filters))
        )
    assert canonical[0] == canonical[1]


def test_canonical_names_number_the_relations_of_all_blocks_and_name_what_hints_can():
    texts = (
        "SELECT 1 FROM a, b WHERE a.x = b.x AND EXISTS (SELECT 1 FROM c JOIN d ON c.y = d.y WHERE c.x = a.x)",
        "SELECT 1 FROM b q, a p WHERE EXISTS (SELECT 1 FROM d s, c r WHERE r.x = p.x AND s.y = r.y) AND q.x = p.x",
    )
    one, other = (parse_query(text).canonical for text in texts)
    assert sorted(one.values()) == ["t1", "t2", "t3", "t4"]
    assert [one[alias] for alias in "abcd"] == [other[alias] for alias in "pqrs"]
    twice = parse_query("SELECT 1 FROM a, b WHERE a.x IN (SELECT a.x FROM a)")
    assert set(twice.canonical) == {"b"}
    assert twice.canonical["b"] in ("t1", "t2", "t3")


def test_interchangeable_relations_are_told_apart_by_their_literals():
    one = parse_query("SELECT 1 FROM a p, a q WHERE p.x = q.x AND p.y = 3 AND q.y = 7").canonical
    other = parse_query("SELECT 1 FROM a q, a p WHERE p.y = 7 AND q.y = 3 AND p.x = q.x").canonical
    assert (one["p"], one["q"]) == (other["q"], other["p"])


@settings(max_examples=120, deadline=None)
@given(st.data(), shapes(max_size=4), st.integers(0, 10**6))
def test_another_join_graph_has_another_fingerprint(data, shape, seed):
    rng = random.Random(seed)
    size = len(shape.tables)
    changes = ["table", "left", "counted", "add"] + ["drop", "redirect", "column"] * bool(shape.edges)
    change = data.draw(st.sampled_from(changes))
    at = data.draw(st.integers(0, max(0, len(shape.edges) - 1)))
    if change == "table":
        other = replace(shape, tables=("w", *shape.tables[1:]))
    elif change == "left":
        other = replace(shape, lefts=() if shape.lefts else (size - 1,))
        # Filters stand in WHERE either way: only the join's kind differs.
    elif change == "counted":
        other = replace(shape, counted=(shape.counted + 1) % size)
    elif change == "add":
        other = replace(shape, edges=(*shape.edges, (0, "z", size - 1, "z")))
    else:
        edge = shape.edges[at]
        rest = shape.edges[:at] + shape.edges[at + 1 :]
        if change == "redirect":
            target = data.draw(st.integers(0, size - 1).filter(lambda i: i != edge[0]))
            rest += ((edge[0], edge[1], target, edge[3]),)
        elif change == "column":
            rest += ((edge[0], "z", edge[2], edge[3]),)
        other = replace(shape, edges=rest)
    if len(set(other.lefts)) and any(i in other.lefts and j in other.lefts for i, _, j, _ in other.edges):
        return
    same = of(write(shape, rng))[0] == of(write(other, rng))[0]
    assert same == shape.isomorphic(other)


CYCLE = Shape(("t",) * 6, tuple((i, "x", (i + 1) % 6, "x") for i in range(6)))
TRIANGLES = Shape(
    ("t",) * 6, tuple((a, "x", b, "x") for k in (0, 3) for a, b in ((k, k + 1), (k + 1, k + 2), (k, k + 2)))
)
CLIQUE = Shape(("t",) * 8, tuple((i, "x", j, "x") for j in range(8) for i in range(j)))
PAIRS = Shape(("t",) * 10, tuple((i, "x", i + 1, "y") for i in range(0, 10, 2)))


@pytest.mark.parametrize("shape", [CYCLE, TRIANGLES, CLIQUE, PAIRS])
def test_interchangeable_relations_are_named_canonically(shape):
    rng = random.Random(4)
    texts = [write(replace(shape, counted=0), rng).replace("x)", "*)").split("count(")[1] for _ in range(6)]
    assert len({of("SELECT count(*" + text[text.index(")") :])[0] for text in texts}) == 1


def test_colours_alone_do_not_tell_a_hexagon_from_two_triangles():
    rng = random.Random(4)
    one, other = (write(shape, rng).split("count(")[1].split(")", 1)[1] for shape in (CYCLE, TRIANGLES))
    assert of("SELECT count(*)" + one)[0] != of("SELECT count(*)" + other)[0]


def test_eight_interchangeable_relations_take_a_handful_of_comparisons(monkeypatch):
    monkeypatch.setattr("trellis.sql.fingerprint.MAX_READS", 10_000)
    filters = tuple((i, "y", "=") for i in range(8))
    rng = random.Random(4)
    shape = replace(CLIQUE, filters=filters)
    assert of(write(shape, rng, [7, 7, 1, 2, 3, 4, 5, 6]).replace("count(", "count(1 + ")) is not None
    texts = ["SELECT 1 FROM" + write(shape, rng, [7, 7, 1, 2, 3, 4, 5, 6]).split("FROM", 1)[1] for _ in range(4)]
    assert len({of(text) for text in texts}) == 1


EQUAL = [
    ("SELECT 1 FROM a WHERE x IN (1, 2)", "SELECT 7 FROM a WHERE x IN (4, 5, 6)"),
    ("SELECT a.x FROM a WHERE a.x = -1", "SELECT b.x FROM a b WHERE 3 = b.x"),
    ("SELECT x FROM a WHERE x > 1 AND (y = 1 OR z = 2)", "SELECT x FROM a WHERE (z = 3 OR y = 1) AND 5 < x"),
    ("SELECT x FROM a WHERE d > '2020-01-01'::timestamp", "SELECT X FROM A WHERE D>'2021-01-01'::timestamp"),
    ("SELECT x FROM a WHERE d > now() - interval '1 day'", "SELECT x FROM a WHERE d > now() - interval '2 hours'"),
    ("WITH q AS (SELECT x FROM a) SELECT q.x FROM q, b", "WITH r AS (SELECT x FROM a) SELECT s.x FROM b, r s"),
    ("SELECT 1 FROM a JOIN b ON a.x = b.x AND a.y = 1", "SELECT 1 FROM b, a WHERE a.y = 1 AND b.x = a.x"),
    ("SELECT 1 FROM a RIGHT JOIN b ON a.x = b.x", "SELECT 1 FROM b LEFT JOIN a ON a.x = b.x"),
    (
        "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b, c WHERE b.x = a.x AND c.y = b.y)",
        "SELECT 1 FROM a p WHERE EXISTS (SELECT 2 FROM c q, b r WHERE r.y = q.y AND r.x = p.x)",
    ),
    ("SELECT 1 FROM a LIMIT 5", "SELECT 1 FROM a LIMIT 7"),
]
DIFFERENT = [
    ("SELECT x FROM a ORDER BY 1", "SELECT x FROM a ORDER BY 2"),
    ("SELECT x FROM a", "SELECT y FROM a"),
    ("SELECT x FROM a", "SELECT DISTINCT x FROM a"),
    ("SELECT x FROM a", "SELECT x FROM s.a"),
    ("SELECT x FROM a WHERE x < y", "SELECT x FROM a WHERE y < x"),
    ("SELECT x FROM a WHERE x = 1 AND y = 1", "SELECT x FROM a WHERE x = 1 OR y = 1"),
    ("SELECT x FROM a WHERE x IS TRUE", "SELECT x FROM a WHERE x IS FALSE"),
    ("SELECT x FROM a WHERE x IS NULL", "SELECT x FROM a WHERE x IS NOT NULL"),
    ("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x", "SELECT 1 FROM a JOIN b ON a.x = b.x"),
    ("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x", "SELECT 1 FROM b LEFT JOIN a ON a.x = b.x"),
    ("SELECT 1 FROM a LEFT JOIN b ON a.x = b.x", "SELECT 1 FROM a FULL JOIN b ON a.x = b.x"),
    ("SELECT 1 FROM a LEFT JOIN b ON a.x = 1", "SELECT 1 FROM a LEFT JOIN b ON TRUE WHERE a.x = 1"),
    (
        "SELECT 1 FROM a, b WHERE a.x = 1 AND b.x = 2 AND a.y = b.y",
        "SELECT 1 FROM a, b WHERE a.x = 1 AND a.x = 2 AND a.y = b.y",
    ),
    (
        "WITH q AS (SELECT x FROM a), r AS (SELECT x FROM b) SELECT 1 FROM q",
        "WITH q AS (SELECT x FROM a), r AS (SELECT x FROM b) SELECT 1 FROM r",
    ),
    (
        "SELECT 1 FROM a, a b WHERE EXISTS (SELECT 1 FROM c WHERE c.x = a.x) AND b.y = 1",
        "SELECT 1 FROM a, a b WHERE EXISTS (SELECT 1 FROM c WHERE c.x = a.x) AND a.y = 1",
    ),
    ("SELECT 1 UNION SELECT x FROM a", "SELECT 1 UNION ALL SELECT x FROM a"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_queries_that_ask_the_same_up_to_literals_have_equal_fingerprints(one, other):
    assert of(one)[0] == of(other)[0]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_queries_that_ask_something_else_have_other_fingerprints(one, other):
    assert of(one)[0] != of(other)[0]


def test_lists_of_literals_are_one_literal_each():
    two = [
        parse_query(f"SELECT 1 FROM a WHERE x IN ({one}) AND y IN ({other})")
        for one, other in (("1, 2", "3"), ("1", "2, 3"))
    ]
    assert two[0].fingerprint == two[1].fingerprint
    assert two[0].literals == ("1", "(1, 2)", "(3)")
    assert two[1].literals == ("1", "(1)", "(2, 3)")


def test_relations_in_different_arms_of_a_union_are_not_tied(monkeypatch):
    monkeypatch.setattr("trellis.sql.fingerprint.MAX_READS", 2_000)
    names = [f"n{number}" for number in range(40)]
    arms = [
        " UNION ALL ".join(
            f"SELECT {a}.x FROM t {a}, t {b} WHERE {a}.x = {b}.y" for a, b in zip(order[::2], order[1::2], strict=True)
        )
        for order in (names, names[::-1])
    ]
    assert of(arms[0]) == of(arms[1])
