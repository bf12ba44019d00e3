"""Asks for a join order in the query's own text: FROM becomes joins in parentheses, in the order that a hint names.

With `join_collapse_limit = 1` PostgreSQL joins in the order of explicit JOINs
(https://www.postgresql.org/docs/current/explicit-joins.html). Inner joins are written as CROSS JOIN and their conditions
move to WHERE; left joins keep ON. The conditions of inner joins on a left join's nullable side move into its ON:
L ⟕_q σ_p(R) = L ⟕_{q ∧ p} R. A `*` is spelled out, because it would follow the new order.

Every piece is cut from the original text, so nothing but FROM, WHERE, `*` and names of USING columns can change; then the
new text is read again and must ask the same, in the order that was wanted, or `SQLError` is raised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trellis.errors import HintError, SQLError
from trellis.sql.fingerprint import own_form
from trellis.sql.from_clause import Item, WrittenTree, joins, leaves
from trellis.sql.hints import Join, JoinTree, Leading, PlanHints, quoted, tree_aliases
from trellis.sql.orders import illegal
from trellis.sql.query import Query
from trellis.sql.reader import read
from trellis.sql.scopes import Reading, Scope, folded, star_columns
from trellis.sql.source import Source, Span, TextJoin, TextTree, sources, text_leaves

KEPT = 64
"""Rewritten texts kept per query."""


def rewrite(query: Query, hints: PlanHints) -> tuple[str, dict[str, str]]:
    """Write a query with its joins in the order that `Leading` hints ask for.

    Blocks without a hint keep their text, except that three or more relations joined by inner JOINs become a list with
    commas where that is exact: under `join_collapse_limit = 1` explicit JOINs would be made in the order they are written.
    Where it is not, that is said. A list with commas is planned freely up to `from_collapse_limit` relations.

    Args:
        query: The query.
        hints: Only `leading` is looked at.

    Returns:
        The text, and what could not be asked for: to a hint's text, or to a block's path where it has no hint, one sentence.

    Raises:
        HintError: A tree is no legal join order of one of the query's blocks.
        SQLError: The new text does not ask the same; a fault of Trellis.
    """
    kept = query.reading.rewritten
    found = kept.get(hints.leading)
    if found is None:
        found = _rewritten(query, hints)
        if len(kept) >= KEPT:
            kept.clear()
        kept[hints.leading] = found
    return found[0], dict(found[1])


@dataclass(slots=True)
class _Part:
    """A region in text: see `trellis.sql.from_clause.Region`."""

    conditions: list[str]
    outers: list[tuple[frozenset[str], list[str]]]
    aliases: frozenset[str] = field(default_factory=frozenset)


def _rewritten(query: Query, hints: PlanHints) -> tuple[str, dict[str, str]]:
    untouched: dict[str, str] = {}
    wanted: dict[int, Join | None] = {}
    for leading in hints.leading:
        block = _block_of(query, leading)
        if query.blocks[block].fixed:
            untouched[str(leading)] = illegal(query.blocks[block], leading.tree)
        elif reason := illegal(query.blocks[block], leading.tree):
            raise HintError(str(leading), reason=reason)
        else:
            wanted[block] = leading.tree
    if not hints.leading:
        return query.sql, untouched
    names = {frozenset(tree_aliases(leading.tree)): str(leading) for leading in hints.leading}
    for scope in query.reading.scopes:
        explicit = scope.tree is not None and any(join.kind != "comma" for join in joins(scope.tree))
        if scope.id in wanted or len(scope.items) < 3 or not explicit:
            continue
        if query.blocks[scope.id].fixed or query.blocks[scope.id].outer_joins:
            if frozenset(query.blocks[scope.id].aliases) not in names:
                untouched[scope.path] = (
                    f"{scope.path} has no hint and more than inner joins, so it is joined in the order it is written"
                )
        else:
            wanted[scope.id] = None
    editor = _Editor(query.reading, wanted)
    for block, reason in editor.refused.items():
        tree = wanted.pop(block)
        untouched[query.blocks[block].path if tree is None else str(Leading(tree))] = reason
    if not wanted:
        return query.sql, untouched
    sql = editor.text()
    _check(query, sql, wanted)
    return sql, untouched


def _block_of(query: Query, leading: Leading) -> int:
    aliases = frozenset(tree_aliases(leading.tree))
    exact = [block.id for block in query.blocks if frozenset(block.aliases) == aliases]
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise HintError(str(leading), reason="several blocks of the query have these aliases: give them different ones")
    nearest = max(query.blocks, key=lambda block: len(aliases & set(block.aliases)))
    reason = illegal(nearest, leading.tree)
    raise HintError(str(leading), reason=reason, choices=sorted(nearest.aliases))


class _Editor:
    """Collects replacements of pieces of the text.

    Attributes:
        refused: To a block that cannot be written anew, why.
    """

    def __init__(self, reading: Reading, wanted: dict[int, Join | None]) -> None:
        self.sql = reading.sql
        self.edits: list[tuple[Span, str]] = []
        self.refused: dict[int, str] = {}
        located = _located(reading)
        blocks = {block: located.get(block) for block in wanted}
        for block, source in blocks.items():
            reason = "its FROM clause cannot be found in the text" if source is None else ""
            scope = reading.scopes[block]
            if not reason and source is not None and source.stars and not self.star_text(scope):
                reason = "what its * stands for is known from a catalog only"
            if reason:
                self.refused[block] = f"the join order of {scope.path} is left as it is: {reason}"
        ready = [
            (reading.scopes[block], source) for block, source in blocks.items() if source and block not in self.refused
        ]
        for scope, source in ready:
            self.qualify(scope, source)
        for scope, source in sorted(ready, key=lambda pair: pair[1].whole.end - pair[1].whole.start):
            self.block(scope, source, wanted[scope.id])

    def text(self) -> str:
        """Return the text with every replacement made."""
        return self.piece(Span(0, len(self.sql)))

    def piece(self, span: Span) -> str:
        """Return a piece of the text with the replacements inside it made."""
        parts: list[str] = []
        at = span.start
        for where, text in sorted(self.edits, key=lambda edit: edit[0]):
            if span.start <= where.start and where.end <= span.end:
                parts += [self.sql[at : where.start], text]
                at = where.end
        return "".join((*parts, self.sql[at : span.end]))

    def qualify(self, scope: Scope, source: Source) -> None:
        """Say whose a column is where a larger scope or a lost USING would leave it open."""
        on = [join.on for join in _text_joins(source.tree) if join.on is not None]
        for column, item in scope.bare:
            start = column.this.meta["start"]
            if folded(column.this) in scope.merged or any(span.start <= start < span.end for span in on):
                self.edits.append((Span(start, start), f"{self.name(item)}."))

    def block(self, scope: Scope, source: Source, tree: Join | None) -> None:
        assert scope.tree is not None
        part, items = self.part(scope.tree, source.tree)
        if tree is None:
            clause = ", ".join(items[item.alias] for item in leaves(scope.tree))
        else:
            clause = self.joined(tree, dict(part.outers), items)[1:-1]
        conditions = list(part.conditions)
        if source.where is not None:
            conditions.append(self.piece(source.where))
        where = ""
        if conditions:
            where = " WHERE " + (conditions[0] if not part.conditions else _all(conditions))
        stars = [(star, self.star_text(scope)) for star in source.stars]
        self.edits = [edit for edit in self.edits if not (source.whole.start <= edit[0].start < source.whole.end)]
        self.edits += [(source.whole, f"FROM {clause}{where}"), *stars]

    def joined(self, tree: JoinTree, outers: dict[frozenset[str], list[str]], items: dict[str, str]) -> str:
        if isinstance(tree, str):
            return items[tree]
        left, right = self.joined(tree.left, outers, items), self.joined(tree.right, outers, items)
        on = outers.get(frozenset(tree_aliases(tree.right)))
        return f"({left} CROSS JOIN {right})" if on is None else f"({left} LEFT JOIN {right} ON {_all(on) or 'TRUE'})"

    def part(self, tree: WrittenTree, text: TextTree) -> tuple[_Part, dict[str, str]]:
        """Return what `trellis.sql.from_clause.region` does, in text, and each item's text."""
        if isinstance(tree, Item):
            assert isinstance(text, Span)
            return _Part([], [], frozenset((tree.alias,))), {tree.alias: self.piece(text)}
        assert isinstance(text, TextJoin)
        left, items = self.part(tree.left, text.left)
        right, others = self.part(tree.right, text.right)
        items = {**items, **others}
        on = [] if text.on is None else [self.piece(text.on)]
        on += [f"{self.column(a, name)} = {self.column(b, name)}" for name, a, b in tree.pairs or ()]
        if tree.kind == "right":
            left, right = right, left
        both = left.aliases | right.aliases
        outers = left.outers + right.outers
        if tree.kind in ("left", "right"):
            outers.append((right.aliases, on + right.conditions))
            return _Part(left.conditions, outers, both), items
        return _Part(left.conditions + right.conditions + on, outers, both), items

    def star_text(self, scope: Scope) -> str:
        """Spell a block's `*` out."""
        assert scope.tree is not None
        if not any(join.natural or join.using for join in joins(scope.tree)):
            return ", ".join(f"{self.name(item)}.*" for item in leaves(scope.tree))
        columns = star_columns(scope.tree)
        return "" if columns is None else ", ".join(self.column(item, name) for name, item in columns)

    def column(self, item: Item, name: str) -> str:
        return f"{self.name(item)}.{_always_quoted(name)}"

    def name(self, item: Item) -> str:
        return _always_quoted(item.alias)


def _always_quoted(name: str) -> str:
    """Quote a name even where it need not be: it may be a reserved word."""
    text = quoted(name)
    return text if text.startswith('"') else f'"{text}"'


def _all(conditions: list[str]) -> str:
    return " AND ".join(f"({condition})" for condition in conditions)


def _text_joins(tree: TextTree) -> list[TextJoin]:
    return [] if isinstance(tree, Span) else [*_text_joins(tree.left), *_text_joins(tree.right), tree]


def _located(reading: Reading) -> dict[int, Source]:
    """Find each block's FROM clause: the one whose items hold the names of the block's relations."""
    found = sources(reading.sql, reading.tokens)
    spots = sorted(
        (span.end - span.start, span, number, index)
        for number, source in enumerate(found)
        for index, span in enumerate(text_leaves(source.tree))
    )
    located: dict[int, Source] = {}
    for scope in reading.scopes:
        places = set()
        for index, item in enumerate(scope.items):
            if item.named_at is not None:
                at = item.named_at
                _, _, number, place = next((s for s in spots if s[1].start <= at < s[1].end), (0, None, -1, -1))
                places.add(number if place == index else -1)
        if len(places) == 1 and -1 not in places:
            source = found[places.pop()]
            if scope.tree is not None and _same_shape(scope.tree, source.tree):
                located[scope.id] = source
    return located


def _same_shape(tree: WrittenTree, text: TextTree) -> bool:
    if isinstance(tree, Item) or isinstance(text, Span):
        return isinstance(tree, Item) and isinstance(text, Span)
    same_on = (tree.on is None) == (text.on is None)
    return same_on and _same_shape(tree.left, text.left) and _same_shape(tree.right, text.right)


def _check(query: Query, sql: str, wanted: dict[int, Join | None]) -> None:
    """Read the new text and compare it with what was asked for."""
    after = read(sql, dialect=query.dialect, catalog=query.reading.catalog)
    orders = [_order(scope.tree) for scope in after.scopes if scope.tree is not None]
    for block, tree in wanted.items():
        if tree is not None and orders.count(tree) != 1:
            raise SQLError(f"{Leading(tree)} was lost while {query.blocks[block].path} was written anew: {sql}")
    if own_form(query.reading) != own_form(after):
        raise SQLError(f"rewriting changed what the query asks; it was\n{query.sql}\nand became\n{sql}")


def _order(tree: WrittenTree) -> JoinTree:
    return tree.alias if isinstance(tree, Item) else Join(_order(tree.left), _order(tree.right))
