"""Makes the form of a reading: what is the same to whoever asks becomes the same form."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from trellis.sql.conditions import type_text
from trellis.sql.form import Form, Parts, Slot, Text, read_form
from trellis.sql.from_clause import Condition, Item, Outer, Region, conjuncts, joins, leaves
from trellis.sql.scopes import Reading, Scope, folded, star_columns


class Former:
    """Makes forms of one reading.

    Attributes:
        spell_stars: Whether a `*` stands for its relations in their order; if not, it is a word, and their order is free.
        stars: Whether an unqualified `*` was met among the outputs.
        elements: The smallest forms that say what a relation has to do with others: conditions, outputs, FROM items.
    """

    def __init__(self, reading: Reading, *, spell_stars: bool = False) -> None:
        self.reading = reading
        self.spell_stars = spell_stars
        self.elements: list[Form] = []
        self.stars = False
        self.place = ""

    def query(self) -> Form:
        """Return the form of the whole query."""
        return self.form(self.reading.root)

    def form(self, node: exp.Expr) -> Form:
        """Return the form of any node."""
        kind = type(node)
        if kind is exp.Column:
            return self._column(node)
        if kind is exp.Paren:
            return self.form(node.this)
        if kind in _LITERALS or (kind in (exp.Neg, exp.Interval) and isinstance(node.this, exp.Literal)):
            return Text("?", (_literal(node),))
        if kind is exp.And or kind is exp.Or:
            return _parts(kind.__name__, [self.form(operand) for operand in _operands(node, kind)], ordered=False)
        if kind in (exp.EQ, exp.NEQ):
            sides = [self.form(node.this), self.form(node.args["expression"])]
            return _parts(kind.__name__, sides, ordered=False)
        if kind in (exp.LT, exp.LTE):
            return _parts(kind.__name__, [self.form(node.this), self.form(node.args["expression"])])
        if kind in _MIRRORED:
            return _parts(_MIRRORED[kind], [self.form(node.args["expression"]), self.form(node.this)])
        if kind is exp.In and node.expressions and all(map(_is_literal, node.expressions)):
            return _parts("In", [self.form(node.this), Text("?", (_literals(node.expressions, ordered=False),))])
        if kind is exp.Array and node.expressions and all(map(_is_literal, node.expressions)):
            return Text("?", (_literals(node.expressions, ordered=True),))
        if kind is exp.Is and isinstance(node.args["expression"], exp.Boolean):
            return _parts(f"Is{node.args['expression'].this}", [self.form(node.this)])
        if kind is exp.Select:
            return self._block(self.reading.blocks_of[id(node)])
        if kind is exp.DataType:
            return Text(type_text(node))
        if kind is exp.Identifier:
            return Text(folded(node))
        if kind is exp.CTE:
            return self._cte(node)
        if kind in (exp.Ordered, exp.Group):
            return self._generic(node, positions=True)
        if kind is exp.Subquery and not any(value for key, value in node.args.items() if key not in ("this", "alias")):
            return self.form(node.this)
        return self._generic(node)

    def _generic(self, node: exp.Expr, *, positions: bool = False, without: tuple[str, ...] = ()) -> Form:
        parts: list[Form] = []
        for key in sorted(node.args):
            value = node.args[key]
            if value is None or value is False or value == [] or key in without:
                continue
            place = self.place
            if isinstance(node, exp.SetOperation):
                self.place = f"{place}/{key}"
            inside = [self._part(part, positions) for part in (value if isinstance(value, list) else [value])]
            self.place = place
            parts.append(_parts(key, inside))
        return _parts(type(node).__name__, parts)

    def _part(self, value: object, positions: bool) -> Form:
        if not isinstance(value, exp.Expr):
            return Text(repr(value))
        # ORDER BY 2 names an output column: its number is no literal.
        return Text(value.name) if positions and isinstance(value, exp.Literal) else self.form(value)

    def _column(self, node: exp.Expr) -> Form:
        name = "*" if isinstance(node.this, exp.Star) else folded(node.this)
        owner = self.reading.owners.get(id(node))
        if owner is not None:
            return Slot(owner[0].vertex, f".{name}")
        table = node.args.get("table")
        return Text(f"?{name}" if table is None else f"?{folded(table)}.{name}")

    def _cte(self, node: exp.Expr) -> Form:
        columns = [Text(folded(column)) for column in node.args["alias"].args.get("columns") or ()]
        head = f"cte {self.reading.ctes[id(node)]} {node.args.get('materialized')}"
        place, self.place = self.place, f"{self.place}/{self.reading.ctes[id(node)]}"
        inside = self.form(node.this)
        self.place = place
        return _parts(head, [*columns, inside])

    def _block(self, scope: Scope) -> Form:
        select = scope.select
        assert select is not None
        parts: list[Form] = []
        for key in sorted(select.args):
            value = select.args[key]
            if not value or key in ("from_", "joins", "where"):
                continue
            inside = []
            for part in value if isinstance(value, list) else [value]:
                self.stars = self.stars or isinstance(part, exp.Star)
                spelt = self.spell_stars and isinstance(part, exp.Star)
                inside += self._spelt(scope) if spelt else [self._part(part, False)]
            self.elements += [_parts(f"{self.place} {key}{number}", [part]) for number, part in enumerate(inside)]
            parts.append(_parts(key, inside))
        where = select.args.get("where")
        conditions: list[Condition] = [*conjuncts(None if where is None else where.this)]
        source = Region([]) if scope.region is None else scope.region
        return _parts("select", [*parts, self._region(source, conditions)])

    def _spelt(self, scope: Scope) -> list[Form]:
        tree = scope.tree
        if tree is None:
            return []
        columns = star_columns(tree) if any(join.natural or join.using for join in joins(tree)) else None
        if columns is None:
            return [Slot(item.vertex, ".*") for item in leaves(tree)]
        return [Slot(item.vertex, f".{name}") for name, item in columns]

    def _region(self, region: Region, conditions: list[Condition]) -> Form:
        parts = [self._leaf(item) for item in region.items]
        parts += [self.condition(condition) for condition in (*region.conditions, *conditions)]
        parts += [self._outer(outer) for outer in region.outers]
        # Arms of a UNION and CTEs have an order: what stands in different ones is not alike.
        self.elements += [_parts(self.place, [part]) for part in parts] if self.place else parts
        return _parts("from", parts, ordered=False)

    def _outer(self, outer: Outer) -> Form:
        conditions = _parts("on", [self.condition(condition) for condition in outer.conditions], ordered=False)
        right = self._region(outer.right, [])
        if outer.left is None:
            return _parts("left", [right, conditions])
        return _parts("full", [_parts("sides", [self._region(outer.left, []), right], ordered=False), conditions])

    def condition(self, condition: Condition) -> Form:
        """Return the form of a condition; a USING column's is that of an equation."""
        if isinstance(condition, tuple):
            name, *items = condition
            return _parts("EQ", [Slot(item.vertex, f".{name}") for item in items], ordered=False)
        return self.form(condition)

    def _leaf(self, item: Item) -> Form:
        slot = Slot(item.vertex)
        columns = [Text(name) for name in _alias_columns(item.node)]
        if item.kind == "cte":
            return _parts("rel", [slot, Text(f"cte {self.reading.ctes[id(item.node)]}"), *columns])
        if item.kind == "table":
            rest = self._generic(item.node, without=("this", "db", "catalog", "alias", "joins"))
            return _parts("rel", [slot, Text(item.name or ""), rest, *columns])
        node = item.node.this if isinstance(item.node.this, exp.Values) else item.node
        return _parts("rel", [slot, self._generic(node, without=("alias", "joins")), *columns])


_LITERALS = (exp.Literal, exp.Boolean, exp.Placeholder, exp.Parameter)
_MIRRORED = {exp.GT: "LT", exp.GTE: "LTE"}


def _parts(head: str, parts: Sequence[Form], *, ordered: bool = True) -> Form:
    form = Parts(head, tuple(parts), ordered)
    return read_form(form, ()) if all(isinstance(part, Text) for part in parts) else form


def _is_literal(node: exp.Expr) -> bool:
    return isinstance(node, _LITERALS) or (isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal))


def _literal(node: exp.Expr) -> str:
    if isinstance(node, exp.Literal):
        return "'" + node.name.replace("'", "''") + "'" if node.is_string else node.name
    return node.sql("postgres", comments=False)


def _literals(nodes: Sequence[exp.Expr], *, ordered: bool) -> str:
    texts = [_literal(node) for node in nodes]
    return f"({', '.join(texts if ordered else sorted(set(texts)))})"


def _operands(node: exp.Expr, kind: type[exp.Expr]) -> list[exp.Expr]:
    """Return the operands of nested ANDs or ORs, parentheses between them removed."""
    found: list[exp.Expr] = []
    waiting = [node]
    while waiting:
        part = waiting.pop()
        while isinstance(part, exp.Paren):
            part = part.this
        if type(part) is kind:
            waiting += [part.args["expression"], part.this]
        else:
            found.append(part)
    return found


def _alias_columns(node: exp.Expr) -> list[str]:
    alias = node.args.get("alias")
    columns = [] if alias is None else alias.args.get("columns") or []
    return [folded(column.this if isinstance(column, exp.ColumnDef) else column) for column in columns]
