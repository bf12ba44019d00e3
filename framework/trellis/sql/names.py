"""Whose every name is: blocks, relations and columns of a syntax tree, resolved as PostgreSQL resolves them.

A qualified column belongs to the nearest relation of that alias, an unqualified one to the relation that has it, by the
catalog and by the output of subqueries. Where neither knows, it belongs to the only relation of its block; where there
are several, to none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlglot import exp
from sqlglot.tokens import Token

from trellis.sql.catalog import Catalog
from trellis.sql.from_clause import Item, JoinKind, Region, Written, WrittenTree, conjuncts, joins, leaves, region
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


_SYSTEM_COLUMNS = frozenset(("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"))
_PLACES = {
    "distinct": "SELECT",
    "where": "WHERE",
    "group": "GROUP BY",
    "having": "HAVING",
    "windows": "WINDOW",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "OFFSET",
}
Ctes: TypeAlias = "dict[str, tuple[str, Columns, int | None]]"


class Names:
    """Walks the tree once; every method fills `reading`."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.guessed: list[str] = []
        self.found: set[Item] = set()
        self.num_items = 0

    def query(
        self,
        node: exp.Expr,
        *,
        path: str,
        parent: int | None,
        outer: Scope | None,
        ctes: Ctes,
        first: Scope | None = None,
    ) -> tuple[Columns, int | None]:
        """Read a SELECT, UNION, VALUES or a parenthesis around one; return its columns and its first block."""
        if first is None and isinstance(_leftmost(node), exp.Select):
            first = Scope(len(self.reading.scopes))
            self.reading.scopes.append(first)
        ctes = self.with_clause(node, first, outer=outer, ctes=ctes, parent=parent)
        if isinstance(node, exp.Select):
            assert first is not None
            first.path, first.parent, first.outer, first.select = path, parent, outer, node
            self.block(first, ctes)
            return first.outputs, first.id
        if isinstance(node, exp.SetOperation):
            self.tail(node, parent, ctes)
            columns, block = self.query(node.left, path=path, parent=parent, outer=outer, ctes=ctes, first=first)
            arm = f"the right arm of {type(node).__name__.upper()} in {path}"
            self.query(node.right, path=arm, parent=parent, outer=outer, ctes=ctes)
            return columns, block
        if isinstance(node, (exp.Subquery, exp.Paren)):
            self.tail(node, parent, ctes)
            return self.query(node.this, path=path, parent=parent, outer=outer, ctes=ctes, first=first)
        self.children(node, Scope(-1, parent=parent, outer=outer), ctes, "VALUES")
        if isinstance(node, exp.Values) and node.expressions:
            width = len(node.expressions[0].expressions)
            return tuple(f"column{number}" for number in range(1, width + 1)), None
        return None, None

    def with_clause(
        self, node: exp.Expr, first: Scope | None, *, outer: Scope | None, ctes: Ctes, parent: int | None
    ) -> Ctes:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        ctes = dict(ctes)
        inside = parent if first is None else first.id
        depth = 1 + max((int(number.split(".")[0]) for number, _, _ in ctes.values()), default=0)
        for index, cte in enumerate(clause.expressions):
            alias = cte.args["alias"]
            name = folded(alias.this)
            renamed = tuple(folded(column) for column in alias.args.get("columns") or ())
            number = f"{depth}.{index}"
            self.reading.ctes[id(cte)] = number
            within = dict(ctes)
            if clause.args.get("recursive"):
                within[name] = (number, renamed or _plain_outputs(_leftmost(cte.this)), None)
            columns, block = self.query(cte.this, path=f"the CTE {name}", parent=inside, outer=outer, ctes=within)
            ctes[name] = (number, _renamed(columns, renamed), block)
        return ctes

    def block(self, scope: Scope, ctes: Ctes) -> None:
        select = scope.select
        assert select is not None
        self.reading.blocks_of[id(select)] = scope
        source = select.args.get("from_")
        if source is not None:
            first = self.from_item(source.this, scope, ctes)
            scope.tree = self.joined(first, select.args.get("joins") or (), scope, ctes)
        if scope.tree is not None:
            for join in joins(scope.tree):
                self.condition(join, scope, ctes)
            scope.region = region(scope.tree)
        scope.outputs = self.outputs(select, scope, ctes)
        named = {folded(output.args["alias"]) for output in select.expressions if isinstance(output, exp.Alias)}
        for key, place in _PLACES.items():
            value = select.args.get(key)
            if value is None:
                continue
            if key == "where":
                for conjunct in conjuncts(value.this):
                    self.used(conjunct, scope, ctes, place)
            elif key in ("order", "group"):
                for part in value.expressions:
                    column = part.this if isinstance(part, exp.Ordered) else part
                    # A bare name here is an output column first (ORDER BY) or if no input column has it (GROUP BY).
                    if _is_bare(column) and folded(column.this) in named:
                        if key == "order" or not any(folded(column.this) in (i.columns or ()) for i in scope.items):
                            continue
                    self.expression(part, scope, ctes, place)
                for other in value.args.values():
                    if other is not value.expressions and isinstance(other, list):
                        for part in other:
                            self.expression(part, scope, ctes, place)
            else:
                for part in value if isinstance(value, list) else [value]:
                    self.expression(part, scope, ctes, place)

    def joined(self, first: WrittenTree, others: Iterable[exp.Join], scope: Scope, ctes: Ctes) -> WrittenTree:
        """Read the joins that follow an item; a comma binds weaker than they do."""
        before: WrittenTree | None = None
        part = first
        for join in others:
            right = self.from_item(join.this, scope, ctes)
            kind = _kind(join)
            if kind == "comma":
                before = part if before is None else Written("comma", before, part)
                part = right
                continue
            using = tuple(folded(column) for column in join.args.get("using") or ())
            natural = (join.args.get("method") or "").upper() == "NATURAL"
            part = Written(kind, part, right, on=join.args.get("on"), using=using or None, natural=natural)
        return part if before is None else Written("comma", before, part)

    def from_item(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> WrittenTree:
        """Read one item of FROM, which may be joins in parentheses."""
        if isinstance(node, exp.Subquery) and not _is_query(node.this):
            tree = self.from_item(node.this, scope, ctes)
            if node.args.get("alias"):
                scope.fixed = scope.fixed or "a join in parentheses has an alias of its own"
        else:
            item = self.item(node, scope, ctes)
            item.scope, item.vertex = scope.id, self.num_items
            self.num_items += 1
            scope.items.append(item)
            tree = item
        return self.joined(tree, node.args.get("joins") or (), scope, ctes)

    def item(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> Item:
        """Read one relation of FROM."""
        alias = node.args.get("alias")
        written = None if alias is None else alias.this
        renamed = (
            ()
            if alias is None
            else tuple(
                folded(column.this if isinstance(column, exp.ColumnDef) else column)
                for column in alias.args.get("columns") or ()
            )
        )
        named_at = None if written is None else written.meta.get("start")
        name = None if written is None else folded(written)
        inner = node.this
        if isinstance(node, exp.Table) and isinstance(inner, exp.Identifier):
            table, schema = folded(inner), node.args.get("db")
            if named_at is None:
                named_at = inner.meta.get("start")
            cte = ctes.get(table) if schema is None else None
            if cte is not None:
                number, columns, block = cte
                self.reading.ctes[id(node)] = number
                return Item(name or table, table, "cte", node, _renamed(columns, renamed), {}, named_at, block)
            full = table if schema is None else f"{folded(schema)}.{table}"
            known = None if self.reading.catalog is None else self.reading.catalog.tables.get(full)
            columns = None if known is None else tuple(known.columns)
            types = {} if known is None or renamed else known.columns
            return Item(name or table, full, "table", node, _renamed(columns, renamed), types, named_at)
        if isinstance(node, exp.Lateral):
            scope.fixed = scope.fixed or "it has a LATERAL item"
        if isinstance(inner, exp.Subquery) or isinstance(node, exp.Subquery):
            seen_by = scope if isinstance(node, exp.Lateral) else scope.outer
            columns, block = self.query(
                inner, path=f"the subquery {name} in FROM", parent=scope.id, outer=seen_by, ctes=ctes
            )
            if name is None:
                scope.fixed = scope.fixed or "a subquery in FROM has no alias"
            return Item(
                name or "unnamed_subquery", None, "subquery", node, _renamed(columns, renamed), {}, named_at, block
            )
        if isinstance(node, exp.Values):
            self.children(node, Scope(-1, parent=scope.id, outer=scope.outer), ctes, "VALUES")
            return Item(name or "values", None, "values", node, renamed or None, {}, named_at)
        reads = self.children(node, scope, ctes, "FROM")
        if any(item.scope == scope.id for item in reads):
            scope.fixed = scope.fixed or "a function in FROM reads the relations before it"
        function = _function_name(node)
        offset = node.args.get("offset")
        if renamed and isinstance(offset, exp.Identifier):
            renamed = (*renamed, folded(offset))
        return Item(name or function, function, "function", node, renamed or None, {}, named_at)

    def condition(self, join: Written, scope: Scope, ctes: Ctes) -> None:
        """Read what a join asks for; its ON sees the join's own relations only."""
        _equate(join, scope)
        if join.on is None:
            return
        everything = scope.items
        scope.items = list(leaves(join))
        guesses = len(self.guessed)
        for conjunct in conjuncts(join.on):
            self.used(conjunct, scope, ctes, "ON")
        moves = len(scope.items) < len(everything) or join.kind not in ("inner", "cross")
        scope.items = everything
        if moves and len(self.guessed) > guesses:
            scope.fixed = scope.fixed or (
                f"whose the column {self.guessed[-1]} in an ON condition is cannot be told: qualify it or give a catalog"
            )

    def outputs(self, select: exp.Select, scope: Scope, ctes: Ctes) -> Columns:
        """Read the SELECT list; return its columns' names, None where a `*` hides them."""
        names: list[str] = []
        known = True
        for projection in select.expressions:
            self.expression(projection, scope, ctes, "SELECT")
            if isinstance(projection, exp.Star):
                columns = None if scope.tree is None else star_columns(scope.tree)
                names += [name for name, _ in columns or ()]
                known = known and columns is not None
            elif isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star):
                owner = self.reading.owners.get(id(projection))
                columns_of = None if owner is None else owner[0].columns
                names += columns_of or ()
                known = known and columns_of is not None
            else:
                names.append(_output_name(projection))
        return tuple(names) if known else None

    def used(self, conjunct: exp.Expr, scope: Scope, ctes: Ctes, place: str) -> None:
        """Read a conjunct and note which of the block's own relations it refers to."""
        found = self.expression(conjunct, scope, ctes, place)
        self.reading.used[id(conjunct)] = tuple(
            sorted({i for i in found if i.scope == scope.id}, key=lambda i: i.vertex)
        )

    def tail(self, node: exp.Expr, parent: int | None, ctes: Ctes) -> None:
        """Read what follows a UNION or a parenthesis: names there are output columns."""
        nothing = Scope(-1, parent=parent)
        for key in ("order", "limit", "offset"):
            value = node.args.get(key)
            if isinstance(value, exp.Expr):
                self.children(value, nothing, ctes, key.upper())

    def expression(self, node: exp.Expr, scope: Scope, ctes: Ctes, place: str) -> set[Item]:
        """Resolve every name in an expression; return the relations it refers to, of this block and of outer ones."""
        if isinstance(node, exp.Column):
            owner = self.owner(node, scope)
            return set() if owner is None else {owner}
        if isinstance(node, _QUERIES):
            found = self.found
            self.found = set()
            parent = scope.parent if scope.id < 0 else scope.id
            self.query(node, path=f"a subquery in {place}", parent=parent, outer=scope, ctes=ctes)
            inside, self.found = self.found, found
            self.found |= inside
            return inside
        return self.children(node, scope, ctes, place)

    def children(self, node: exp.Expr, scope: Scope, ctes: Ctes, place: str) -> set[Item]:
        """Resolve every name below a node."""
        found: set[Item] = set()
        for value in node.args.values():
            if isinstance(value, exp.Expr):
                found |= self.expression(value, scope, ctes, place)
            elif isinstance(value, list):
                for part in value:
                    if isinstance(part, exp.Expr):
                        found |= self.expression(part, scope, ctes, place)
        return found

    def owner(self, column: exp.Column, scope: Scope) -> Item | None:
        """Return the relation that a column belongs to."""
        table = column.args.get("table")
        item, certain = self.qualified(folded(table), scope) if table is not None else self.bare(column, scope)
        if not certain:
            self.guessed.append(column.name)
        if item is not None:
            self.reading.owners[id(column)] = (item, certain)
            self.found.add(item)
        return item

    def qualified(self, alias: str, scope: Scope) -> tuple[Item | None, bool]:
        within: Scope | None = scope
        while within is not None:
            for item in within.items:
                if item.alias == alias:
                    return item, True
            within = within.outer
        return None, True

    def bare(self, column: exp.Column, scope: Scope) -> tuple[Item | None, bool]:
        """Resolve a column without a qualifier; the second value says whether it is more than a guess."""
        if isinstance(column.this, exp.Star):
            return None, True
        name = folded(column.this)
        within: Scope | None = scope
        while within is not None:
            hits = [item for item in within.items if item.columns is not None and name in item.columns]
            if hits:
                merged = within.merged.get(name)
                item = hits[0] if len(hits) == 1 else merged if merged in hits else None
                if item is not None:
                    within.bare.append((column, item))
                return item, item is not None
            unknown = [item for item in within.items if item.columns is None]
            if name in _SYSTEM_COLUMNS and len(within.items) == 1:
                return within.items[0], True
            rows = [item for item in within.items if item.alias == name]
            if rows:
                return rows[0], not unknown
            if unknown:
                if len(unknown) > 1:
                    return None, False
                certain = within.outer is None
                if certain:
                    within.bare.append((column, unknown[0]))
                return (unknown[0], certain) if certain or len(within.items) == 1 else (None, False)
            within = within.outer
        return None, False


_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


def star_columns(tree: WrittenTree) -> list[tuple[str, Item]] | None:
    """Return what `*` over a FROM clause gives, in order: name and relation; None where it is not known."""
    if isinstance(tree, Item):
        return None if tree.columns is None else [(name, tree) for name in tree.columns]
    return tree.columns


def _equate(join: Written, scope: Scope) -> None:
    """Work out a join's columns, and what USING or NATURAL equates."""
    left, right = star_columns(join.left), star_columns(join.right)
    asks = join.natural or join.using is not None
    if left is None or right is None:
        if asks:
            scope.fixed = scope.fixed or "what USING or NATURAL equates is known from a catalog only"
        return
    names = join.using if join.using is not None else ()
    if join.natural:
        there = {name for name, _ in right}
        names = tuple(name for name, _ in left if name in there)
    pairs: list[tuple[str, Item, Item]] = []
    for name in names:
        lefts = [item for column, item in left if column == name]
        rights = [item for column, item in right if column == name]
        if len(lefts) != 1 or len(rights) != 1:
            scope.fixed = scope.fixed or f"the USING column {name} is not known to the catalog, or ambiguous"
            return
        a, b = lefts[0], rights[0]
        if a.types.get(name) is None or a.types.get(name) != b.types.get(name):
            scope.fixed = scope.fixed or f"the USING column {name} may have two types, {a.alias}'s and {b.alias}'s"
        pairs.append((name, a, b))
        scope.merged[name] = b if join.kind == "right" else a
    join.pairs = pairs
    preserved = 2 if join.kind == "right" else 1
    merged = [(name, pair[preserved]) for pair in pairs for name in (pair[0],)]
    join.columns = [
        *merged,
        *((name, item) for name, item in left if name not in names),
        *((name, item) for name, item in right if name not in names),
    ]


def _kind(join: exp.Join) -> JoinKind:
    side, kind = (join.args.get("side") or "").lower(), (join.args.get("kind") or "").lower()
    if side in ("left", "right", "full"):
        return side  # type: ignore[no-any-return]
    if kind == "cross":
        return "cross"
    if kind == "inner" or any(join.args.get(key) for key in ("on", "using", "method")):
        return "inner"
    return "comma"


def _is_query(node: exp.Expr) -> bool:
    while isinstance(node, exp.Subquery) and not node.args.get("alias") and not node.args.get("joins"):
        node = node.this
    return isinstance(node, (exp.Select, exp.SetOperation))


def _is_bare(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and node.args.get("table") is None and not isinstance(node.this, exp.Star)


def _leftmost(node: exp.Expr) -> exp.Expr:
    while isinstance(node, (exp.SetOperation, exp.Subquery, exp.Paren)):
        node = node.this
    return node


def _renamed(columns: Columns, names: tuple[str, ...]) -> Columns:
    """Return columns with an alias's column list laid over the first of them."""
    if not names:
        return columns
    return None if columns is None else (*names, *columns[len(names) :])


def _plain_outputs(node: exp.Expr) -> Columns:
    """Return a SELECT's output names without reading it; None where it has a `*`."""
    if not isinstance(node, exp.Select) or any(part.is_star for part in node.expressions):
        return None
    return tuple(_output_name(part) for part in node.expressions)


def _output_name(node: exp.Expr) -> str:
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


def _function_name(node: exp.Expr) -> str:
    inner = node.this
    if isinstance(inner, exp.Anonymous):
        return inner.name.lower()
    if isinstance(inner, exp.GenerateSeries):
        return "generate_series"
    if isinstance(inner, exp.Func):
        return inner.sql_name().lower()
    return "unnest" if isinstance(node, exp.Unnest) else "function"
