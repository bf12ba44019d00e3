"""Checks of embedders: one vector per query, the same whenever and wherever it is made."""

from __future__ import annotations

import math
import multiprocessing
from functools import lru_cache
from typing import TYPE_CHECKING

from trellis.contracts.embedder import Embedder
from trellis.testing.check import Check, Subject, expect

if TYPE_CHECKING:
    from trellis.sql.query import Query

SQL = (
    "SELECT count(*) FROM orders AS o, customers AS c WHERE o.customer = c.id AND c.city = 'Oslo' AND o.total > 100",
    "SELECT count(*) FROM orders AS o, customers AS c WHERE o.customer = c.id AND c.city = 'Rome' AND o.total > 90",
    "SELECT a.x FROM a LEFT JOIN b ON b.y = a.x WHERE a.z BETWEEN 1 AND 7 ORDER BY a.x LIMIT 3",
    'SELECT "Größe" FROM "データ" AS d WHERE d."Größe" LIKE \'%ß🌳%\'',
    "SELECT 1 AS x",
)
TOLERANCE = 1e-4


def every_query_has_a_vector(subject: Subject) -> None:
    """Vectors are matched to queries by place, and a store takes one length only.

    Return one vector per query in order, all of one length, whatever the queries are, and none for none.
    """
    embedder: Embedder = subject.make()
    vectors = embedder.embed(queries())
    expect(len(vectors) == len(SQL), f"{len(SQL)} queries gave {len(vectors)} vectors")
    lengths = {len(vector) for vector in vectors}
    expect(len(lengths) == 1 and min(lengths) > 0, f"the vectors have the lengths {sorted(lengths)}")
    expect(embedder.embed([]) == [], "no queries, but vectors")
    expect(
        all(isinstance(vector, tuple) for vector in vectors), f"a vector is a {type(vectors[0]).__name__}, not a tuple"
    )


def vectors_have_length_one(subject: Subject) -> None:
    """Stores compare directions; a number that is not finite compares with nothing.

    Divide each vector by its length; zeros alone stay zeros.
    """
    embedder: Embedder = subject.make()
    for query, vector in zip(queries(), embedder.embed(queries()), strict=False):
        length = math.hypot(*vector)
        expect(abs(length - 1) < TOLERANCE or length == 0, f"the vector of {query.sql!r} has the length {length}")


def vectors_do_not_depend_on_company_or_time(subject: Subject) -> None:
    """A query is looked up later and alone: its vector must be the one that was stored.

    Make each vector from its query alone, the same in every call and instance.
    """
    first: Embedder = subject.make()
    vectors = first.embed(queries())
    again = list(reversed(first.embed(list(reversed(queries())))))
    alone = [vector for query in queries() for vector in subject.make().embed([query])]
    for query, *found in zip(queries(), vectors, again, alone, strict=False):
        for other in found[1:]:
            off = max((abs(a - b) for a, b in zip(found[0], other, strict=True)), default=0)
            expect(off < TOLERANCE, f"the vector of {query.sql!r} differs by {off} from call to call")


def vectors_are_the_same_in_another_process(subject: Subject) -> None:
    """A store keeps vectors longer than any process lives, and Python's `hash` differs in each.

    Use hashlib, never `hash` or the order of a set.
    """
    here: Embedder = subject.make()
    vectors, version = here.embed(queries()), here.version
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there, their_version = pool.apply(_elsewhere, (subject,))
    expect(version == their_version, f"version is {version!r} here and {their_version!r} in another process")
    for query, one, other in zip(queries(), vectors, there, strict=True):
        off = max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0)
        expect(off < TOLERANCE, f"the vector of {query.sql!r} differs by {off} in another process")


def the_version_names_the_vectors(subject: Subject) -> None:
    """A store that another version filled is made anew; without a version it never is.

    Return a text that is not empty, the same from every instance of one config.
    """
    versions = [subject.make().version, subject.make().version]
    expect(all(isinstance(version, str) and version.strip() for version in versions), f"version is {versions[0]!r}")
    expect(versions[0] == versions[1], f"two instances have the versions {versions}")


@lru_cache(maxsize=1)
def queries() -> list[Query]:
    """Return the queries, read."""
    from trellis.sql.reader import parse_query

    return [parse_query(sql) for sql in SQL]


def _elsewhere(subject: Subject) -> tuple[list[tuple[float, ...]], str]:
    embedder: Embedder = subject.make()
    return embedder.embed(queries()), embedder.version


CHECKS = (
    Check.of("embedder", every_query_has_a_vector),
    Check.of("embedder", vectors_have_length_one),
    Check.of("embedder", vectors_do_not_depend_on_company_or_time),
    Check.of("embedder", vectors_are_the_same_in_another_process),
    Check.of("embedder", the_version_names_the_vectors),
)
