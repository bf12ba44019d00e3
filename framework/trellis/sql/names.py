"""Whose every name is: blocks, relations and columns of a syntax tree, resolved as PostgreSQL resolves them.

A qualified column belongs to the nearest relation of that alias, an unqualified one to the relation that has it, by the
catalog and by the output of subqueries. Where neither knows, it belongs to the only relation of its block; where there
are several, to none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from sqlglot import exp

from trellis.sql.from_clause import Equated, Item, Written, WrittenTree, conjuncts, joins, leaves, region
from trellis.sql.scopes import (
    Columns,
    Reading,
    Scope,
    folded,
    function_name,
    is_bare,
    is_query,
    join_kind,
    leftmost,
    output_name,
    plain_outputs,
    star_columns,
    with_names,
)

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
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


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
        if first is None and isinstance(leftmost(node), exp.Select):
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
        """Read the CTEs before a query; return them with those that are visible anyway."""
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
                within[name] = (number, renamed or plain_outputs(leftmost(cte.this)), None)
            columns, block = self.query(cte.this, path=f"the CTE {name}", parent=inside, outer=outer, ctes=within)
            ctes[name] = (number, with_names(columns, renamed), block)
        return ctes

    def block(self, scope: Scope, ctes: Ctes) -> None:
        """Read one SELECT, FROM first."""
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
                    is_output = is_bare(column) and folded(column.this) in named
                    if is_output and (key == "order" or not _is_input(folded(column.this), scope)):
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
            kind = join_kind(join)
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
        if isinstance(node, exp.Subquery) and not is_query(node.this):
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
                return Item(name or table, table, "cte", node, with_names(columns, renamed), {}, named_at, block)
            full = table if schema is None else f"{folded(schema)}.{table}"
            known = None if self.reading.catalog is None else self.reading.catalog.tables.get(full)
            columns = None if known is None else tuple(known.columns)
            types = {} if known is None or renamed else known.columns
            return Item(name or table, full, "table", node, with_names(columns, renamed), types, named_at)
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
                name or "unnamed_subquery", None, "subquery", node, with_names(columns, renamed), {}, named_at, block
            )
        values = inner if isinstance(inner, exp.Values) else node
        if isinstance(values, exp.Values):
            # sqlglot puts a table node around VALUES that stand in nested parentheses.
            self.children(values, Scope(-1, parent=scope.id, outer=scope.outer), ctes, "VALUES")
            return Item(name or "values", None, "values", node, renamed or None, {}, named_at)
        reads = self.children(node, scope, ctes, "FROM")
        if any(item.scope == scope.id for item in reads):
            scope.fixed = scope.fixed or "a function in FROM reads the relations before it"
        function = function_name(node)
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
                names.append(output_name(projection))
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
        """Resolve a qualifier."""
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
    pairs: list[Equated] = []
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
    join.columns = [
        *((name, scope.merged[name]) for name, _, _ in pairs),
        *((name, item) for name, item in left if name not in names),
        *((name, item) for name, item in right if name not in names),
    ]


def _is_input(name: str, scope: Scope) -> bool:
    return any(name in (item.columns or ()) for item in scope.items)
