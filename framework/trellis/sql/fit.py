"""Whether hints fit their query: every name is there, every tree is one of a block's join orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trellis.errors import HintError, did_you_mean
from trellis.sql.hints import Hint, JoinHint, Leading, PlanHints, ScanHint, quoted, tree_aliases, tree_joins

if TYPE_CHECKING:
    from trellis.sql.catalog import Catalog
    from trellis.sql.query import Block, Query, Relation


def check_hints(hints: PlanHints, query: Query, catalog: Catalog | None = None) -> None:
    """Check hints against a query and, where a catalog is given, its indexes.

    Raises:
        HintError: The first hint that does not fit, with the names that would.
    """
    for _, error in misfits(hints, query, catalog):
        raise error


def misfits(hints: Iterable[Hint], query: Query, catalog: Catalog | None = None) -> list[tuple[Hint, HintError]]:
    """Return every hint that does not fit, with its error; nothing where all fit."""
    hints = list(hints)
    trees = [hint for hint in hints if isinstance(hint, Leading)]
    found: list[tuple[Hint, HintError]] = []
    for hint in hints:
        try:
            match hint:
                case ScanHint():
                    _check_scan(hint, query, catalog)
                case JoinHint():
                    _check_join(hint, query, trees)
                case Leading():
                    _check_leading(hint, query)
        except HintError as error:
            found.append((hint, error))
    return found


def orderable(block: Block) -> bool:
    """Whether a `Leading` can say the join order of a block: two relations or more, all hintable, the order not fixed."""
    return len(block.relations) >= 2 and not block.fixed and all(relation.hintable for relation in block.relations)


def _check_scan(hint: ScanHint, query: Query, catalog: Catalog | None) -> None:
    _, relation = _relation(hint, hint.alias, query)
    if relation.kind != "table" or relation.name is None:
        kinds = {"cte": "a CTE", "subquery": "a subquery", "function": "a function", "values": "a VALUES list"}
        raise HintError(
            str(hint), reason=f"{quoted(hint.alias)} is {kinds[relation.kind]}; only the scan of a table can be chosen"
        )
    table = None if catalog is None else catalog.table(relation.name)
    if catalog is None or (table is None and hint.index is None):
        return
    if table is None:
        raise HintError(str(hint), reason=f"the table {relation.name} is not in the catalog, and so has no index there")
    if table.kind == "view":
        raise HintError(
            str(hint), reason=f"{quoted(hint.alias)} is the view {relation.name}; a hint cannot reach the tables in it"
        )
    if hint.index is not None and hint.index not in table.indexes:
        names = sorted(table.indexes)
        valid = did_you_mean(hint.index, names) or "; it has none"
        raise HintError(
            str(hint), reason=f"the table {relation.name} has no index {quoted(hint.index)}{valid}", choices=names
        )


def _check_join(hint: JoinHint, query: Query, trees: Sequence[Leading]) -> None:
    block = _one_block(hint, sorted(hint.aliases), query)
    for leading in trees:
        aliases = set(tree_aliases(leading.tree))
        if not aliases & set(block.aliases):
            continue
        joins = [frozenset(tree_aliases(join)) for join in tree_joins(leading.tree)]
        if hint.aliases not in joins:
            choices = [" ".join(quoted(alias) for alias in sorted(join)) for join in joins]
            raise HintError(
                str(hint),
                reason=f"{leading} makes no join of exactly these aliases. Its joins: {'; '.join(choices)}",
                choices=choices,
            )


def _check_leading(hint: Leading, query: Query) -> None:
    from trellis.sql.orders import illegal

    aliases = tree_aliases(hint.tree)
    block = _one_block(hint, aliases, query)
    if block.fixed:
        raise HintError(str(hint), reason=f"the join order of {block.path} cannot be changed: {block.fixed}")
    missing = [alias for alias in block.aliases if alias not in aliases]
    if missing:
        raise HintError(
            str(hint),
            reason=f"the tree leaves out {', '.join(map(quoted, missing))}; it must hold every relation of {block.path}",
            choices=block.aliases,
        )
    why = illegal(block, hint.tree)
    if why:
        raise HintError(str(hint), reason=f"the order is not legal in {block.path}: {why}")


def _one_block(hint: Hint, aliases: Sequence[str], query: Query) -> Block:
    first = _relation(hint, aliases[0], query)[0]
    for alias in aliases[1:]:
        block = _relation(hint, alias, query)[0]
        if block.id != first.id:
            raise HintError(
                str(hint),
                reason=f"{quoted(aliases[0])} is in {first.path}, {quoted(alias)} in {block.path}; a hint stays in one block",
                choices=first.aliases,
            )
    return first


def _relation(hint: Hint, alias: str, query: Query) -> tuple[Block, Relation]:
    named = [(block, relation) for block in query.blocks for relation in block.relations if relation.alias == alias]
    for block, relation in named:
        if relation.hintable:
            return block, relation
    choices = [relation.alias for relation in query.relations if relation.hintable]
    if named:
        where = ", ".join(block.path for block, _ in named)
        what = f"{quoted(alias)} cannot be named by a hint: it stands for several relations of the query (in {where})"
        raise HintError(str(hint), reason=f"{what}. Give each an alias of its own", choices=choices)
    of_table = [relation.alias for relation in query.relations if relation.hintable and relation.name == alias]
    if of_table:
        called = " and ".join(map(quoted, of_table))
        raise HintError(str(hint), reason=f"the query calls the table {quoted(alias)} {called}", choices=choices)
    raise HintError(
        str(hint), reason=f"the query has no alias {quoted(alias)}{did_you_mean(alias, choices)}", choices=choices
    )
