"""Reads one SELECT: its blocks, what each joins and on what, and its fingerprint."""

from __future__ import annotations

import copyreg
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError

from trellis.errors import QuerySyntaxError
from trellis.sql.catalog import Catalog
from trellis.sql.conditions import text_of
from trellis.sql.fingerprint import fingerprint
from trellis.sql.from_clause import Condition, Item, Region, conjuncts
from trellis.sql.names import Names
from trellis.sql.query import Block, Edge, OuterJoin, Query, Relation
from trellis.sql.safety import check_safe
from trellis.sql.scopes import Reading, Scope
from trellis.sql.unlogged import unlogged

CACHE_SIZE = 4096
"""Queries kept."""

_cache: OrderedDict[tuple[str, str, str | None], Query] = OrderedDict()
_lock = threading.Lock()


def parse_query(sql: str, *, dialect: str = "postgres", catalog: Catalog | None = None) -> Query:
    """Read one query.

    Args:
        sql: One statement.
        dialect: sqlglot's name of its language.
        catalog: Whose columns the tables have; without it, unqualified columns are known only in blocks of one relation.

    Raises:
        QuerySyntaxError: It cannot be parsed, is empty, or is several statements.
    """
    key = (sql, dialect, None if catalog is None else catalog.version)
    with _lock:
        found = _cache.get(key)
        if found is not None and (found.reading.catalog is catalog or found.reading.catalog == catalog):
            _cache.move_to_end(key)
            return found
    try:
        query = describe(read(sql, dialect=dialect, catalog=catalog), dialect)
    except RecursionError:
        raise _too_deep() from None
    with _lock:
        _cache[key] = query
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return query


def parse_safe(
    sql: str, *, dialect: str = "postgres", catalog: Catalog | None = None, allow_functions: Collection[str] = ()
) -> Query:
    """Read one query that only reads.

    Args:
        sql: One statement.
        dialect: sqlglot's name of its language.
        catalog: As `parse_query` takes it.
        allow_functions: As `trellis.sql.safety.check_safe` takes them.

    Raises:
        QuerySyntaxError: It cannot be parsed, is empty, or is several statements.
        UnsafeQueryError: It is not one SELECT, or calls what it may not.
    """
    query = parse_query(sql, dialect=dialect, catalog=catalog)
    try:
        check_safe(query.tree, dialect=dialect, allow_functions=allow_functions)
    except RecursionError:
        raise _too_deep() from None
    return query


def read(sql: str, *, dialect: str, catalog: Catalog | None) -> Reading:
    """Parse a text and resolve its names, without the cache and without a fingerprint."""
    language = Dialect.get_or_raise(dialect)
    try:
        tokens = language.tokenize(sql)
        with unlogged():
            trees = language.parser().parse(tokens, sql)
        statements = [tree for tree in trees if not (tree is None or isinstance(tree, exp.Semicolon))]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        raise QuerySyntaxError(
            str(first.get("description") or error).split("<Token")[0].removesuffix(" but got ").strip(),
            line=first.get("line"),
            column=first.get("col"),
        ) from None
    except TokenError:
        line, column = _unclosed(sql)
        raise QuerySyntaxError("a quote or comment is opened and never closed", line=line, column=column) from None
    except RecursionError:
        raise _too_deep() from None
    if not statements:
        raise QuerySyntaxError("it is empty")
    if len(statements) > 1:
        raise QuerySyntaxError(f"it holds {len(statements)} statements; give one at a time")
    if isinstance(statements[0], (exp.Condition, exp.Alias)) and not isinstance(statements[0], exp.Query):
        raise QuerySyntaxError("it is an expression, no statement", line=1, column=1)
    reading = Reading(sql, list(tokens), statements[0], catalog)
    try:
        Names(reading).query(statements[0], path="the query", parent=None, outer=None, ctes={})
    except RecursionError:
        raise _too_deep() from None
    return reading


def _too_deep() -> QuerySyntaxError:
    return QuerySyntaxError("it is nested too deeply; write it with fewer levels of parentheses")


def read_again(sql: str, dialect: str, catalog: Catalog | None) -> Query:
    """Read a query that came from another process."""
    return parse_query(sql, dialect=dialect, catalog=catalog)


def _reduced(query: Query) -> tuple[Callable[..., Query], tuple[object, ...]]:
    return read_again, (query.sql, query.dialect, query.reading.catalog)


# The syntax tree's nodes are known by identity, which a copy in another process would not keep.
copyreg.pickle(Query, _reduced)


def describe(reading: Reading, dialect: str) -> Query:
    """Return what was read as the records that everything else works on."""
    counts = Counter(item.alias for scope in reading.scopes for item in scope.items)
    blocks = tuple(_block(scope, counts, reading) for scope in reading.scopes)
    found = fingerprint(reading)
    canonical = {
        item.alias: f"t{found.places[item.vertex] + 1}"
        for scope, block in zip(reading.scopes, blocks, strict=True)
        for item, relation in zip(scope.items, block.relations, strict=True)
        if relation.hintable
    }
    return Query(reading.sql, dialect, blocks, found.digest, found.literals, reading.root, reading, canonical)


def _block(scope: Scope, counts: Counter[str], reading: Reading) -> Block:
    relations = tuple(
        Relation(
            item.alias, item.name, item.kind, item.block, counts[item.alias] == 1 and item.alias != "unnamed_subquery"
        )
        for item in scope.items
    )
    edges: list[Edge] = []
    filters: dict[str, list[str]] = {}
    outer_joins: list[OuterJoin] = []

    def note(condition: Condition, nullable: frozenset[Item] | None) -> None:
        used = used_by(condition, reading)
        if len(used) > 1:
            edges.append(Edge(frozenset(item.alias for item in used), text_of(condition, reading)))
        elif len(used) == 1 and (nullable is None or used[0] in nullable):
            filters.setdefault(used[0].alias, []).append(text_of(condition, reading))

    def visit(part: Region) -> None:
        for condition in part.conditions:
            note(condition, None)
        for outer in part.outers:
            nullable = frozenset(outer.right.all_items())
            for condition in outer.conditions:
                # What ON asks of the preserved side alone filters nothing there.
                note(condition, frozenset() if outer.left is not None else nullable)
            visit(outer.right)
            if outer.left is not None:
                visit(outer.left)
                continue
            requires = {item for condition in outer.conditions for item in used_by(condition, reading)} - nullable
            outer_joins.append(
                OuterJoin(
                    frozenset(item.alias for item in nullable),
                    frozenset(item.alias for item in requires),
                    " AND ".join(sorted(text_of(condition, reading) for condition in outer.conditions)),
                )
            )

    fixed = scope.fixed
    if scope.region is not None:
        visit(scope.region)
        fixed = fixed or ("it has a FULL JOIN" if _has_full(scope.region) else "")
    where = None if scope.select is None else scope.select.args.get("where")
    for conjunct in conjuncts(None if where is None else where.this):
        note(conjunct, None)
    if any(count > 1 for count in Counter(item.alias for item in scope.items).values()):
        fixed = fixed or "two of its relations have the same alias"
    return Block(
        scope.id,
        scope.path,
        scope.parent,
        relations,
        tuple(sorted(edges, key=lambda edge: (sorted(edge.aliases), edge.condition))),
        {item.alias: tuple(sorted(filters[item.alias])) for item in scope.items if item.alias in filters},
        tuple(outer_joins),
        fixed,
    )


def used_by(condition: Condition, reading: Reading) -> tuple[Item, ...]:
    """Return the relations of its own block that a condition refers to."""
    return condition[1:] if isinstance(condition, tuple) else reading.used[id(condition)]


def _has_full(part: Region) -> bool:
    return any(outer.left is not None or _has_full(outer.right) for outer in part.outers)


def _unclosed(sql: str) -> tuple[int, int]:
    """Return line and column of the quote or comment that nothing closes."""
    opened = 0
    position = 0
    while position < len(sql):
        mark = next((mark for mark in ("'", '"', "/*", "--") if sql.startswith(mark, position)), None)
        if mark is None:
            position += 1
            continue
        opened = position
        closing = {"/*": "*/", "--": "\n"}.get(mark, mark)
        end = sql.find(closing, position + len(mark))
        if end < 0:
            break
        position = end + len(closing)
    return sql.count("\n", 0, opened) + 1, opened - sql.rfind("\n", 0, opened)
