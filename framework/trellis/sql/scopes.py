"""What is noted while a query is read, and small questions to sqlglot's nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from trellis.sql.catalog import Catalog
from trellis.sql.from_clause import Item, JoinKind, Region, WrittenTree
from trellis.sql.hints import Leading

Columns: TypeAlias = "tuple[str, ...] | None"


@dataclass(slots=True, eq=False)
class Scope:
    """One block while it is read.

    Attributes:
        id: The block's id.
        path: Where it stands.
        parent: The id of the block it stands in.
        select: Its syntax.
        outer: The block whose relations its expressions may refer to as well.
        items: The relations of FROM so far.
        tree: FROM as written; None without FROM.
        region: FROM as it is meant.
        merged: Which item an unqualified USING column stands for.
        bare: Its relations' columns that stand without a qualifier.
        outputs: The names of its output columns; None where a `*` hides them.
        fixed: Why its join order cannot be changed.
    """

    id: int
    path: str = ""
    parent: int | None = None
    select: exp.Select | None = None
    outer: Scope | None = None
    items: list[Item] = field(default_factory=list)
    tree: WrittenTree | None = None
    region: Region | None = None
    merged: dict[str, Item] = field(default_factory=dict)
    bare: list[tuple[exp.Column, Item]] = field(default_factory=list)
    outputs: Columns = None
    fixed: str = ""


@dataclass(slots=True, eq=False)
class Reading:
    """Everything known of a query's text; what `fingerprint` and `rewrite` work on.

    Attributes:
        sql: The text.
        tokens: Its tokens, with their positions.
        root: The syntax tree.
        catalog: What it was read with.
        scopes: By block id.
        owners: By `id` of a column node: its item, and whether that is certain rather than a guess.
        used: By `id` of a condition: the items it refers to, in its own block.
        ctes: By `id` of a CTE and of a table node that reads it: the CTE's depth and number.
        blocks_of: By `id` of a SELECT's node: its scope.
        rewritten: What `rewrite` made of it, by the hints' join trees.
    """

    sql: str
    tokens: list[Token]
    root: exp.Expr
    catalog: Catalog | None
    scopes: list[Scope] = field(default_factory=list)
    owners: dict[int, tuple[Item, bool]] = field(default_factory=dict)
    used: dict[int, tuple[Item, ...]] = field(default_factory=dict)
    ctes: dict[int, str] = field(default_factory=dict)
    blocks_of: dict[int, Scope] = field(default_factory=dict)
    rewritten: dict[tuple[Leading, ...], tuple[str, dict[str, str]]] = field(default_factory=dict)


def folded(identifier: exp.Expr) -> str:
    """Return a name as PostgreSQL folds it: to lower case unless it is quoted."""
    name: str = identifier.name
    return name if identifier.args.get("quoted") else name.lower()


def star_columns(tree: WrittenTree) -> list[tuple[str, Item]] | None:
    """Return what `*` over a FROM clause gives, in order: name and relation; None where it is not known."""
    if isinstance(tree, Item):
        return None if tree.columns is None else [(name, tree) for name in tree.columns]
    return tree.columns


_OUTER: tuple[JoinKind, ...] = ("left", "right", "full")


def join_kind(join: exp.Join) -> JoinKind:
    """Return how sqlglot's node joins."""
    side, kind = (join.args.get("side") or "").lower(), (join.args.get("kind") or "").lower()
    for outer in _OUTER:
        if side == outer:
            return outer
    if kind == "cross":
        return "cross"
    if kind == "inner" or any(join.args.get(key) for key in ("on", "using", "method")):
        return "inner"
    return "comma"


def is_query(node: exp.Expr) -> bool:
    """Whether a parenthesis in FROM holds a query rather than joins."""
    while isinstance(node, exp.Subquery) and not node.args.get("alias") and not node.args.get("joins"):
        node = node.this
    return isinstance(node, (exp.Select, exp.SetOperation))


def is_bare(node: exp.Expr) -> bool:
    """Whether a node is a column without a qualifier."""
    return isinstance(node, exp.Column) and node.args.get("table") is None and not isinstance(node.this, exp.Star)


def leftmost(node: exp.Expr) -> exp.Expr:
    """Return the first SELECT or VALUES of a query."""
    while isinstance(node, (exp.SetOperation, exp.Subquery, exp.Paren)):
        node = node.this
    return node


def with_names(columns: Columns, names: tuple[str, ...]) -> Columns:
    """Return columns with an alias's column list laid over the first of them."""
    if not names:
        return columns
    return None if columns is None else (*names, *columns[len(names) :])


def plain_outputs(node: exp.Expr) -> Columns:
    """Return a SELECT's output names without reading it; None where it has a `*`."""
    if not isinstance(node, exp.Select) or any(part.is_star for part in node.expressions):
        return None
    return tuple(output_name(part) for part in node.expressions)


def output_name(node: exp.Expr) -> str:
    """Return an output column's name; of an expression without one, something that no column is called."""
    if isinstance(node, exp.Alias):
        return folded(node.args["alias"])
    while isinstance(node, (exp.Cast, exp.Paren)):
        node = node.this
    if isinstance(node, exp.Column):
        return folded(node.this)
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else "?column?"


def function_name(node: exp.Expr) -> str:
    """Return what a function in FROM is called, and so, without an alias, its relation."""
    inner = node.this
    if isinstance(inner, exp.Anonymous):
        return inner.name.lower()
    if isinstance(inner, exp.GenerateSeries):
        return "generate_series"
    if isinstance(inner, exp.Func):
        return inner.sql_name().lower()
    return "unnest" if isinstance(node, exp.Unnest) else "function"
