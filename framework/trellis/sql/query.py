"""One query, read: its blocks, what they join and on what, what can be hinted, and its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.expressions import Expr

    from trellis.sql.from_clause import RelationKind
    from trellis.sql.scopes import Reading


@dataclass(frozen=True, slots=True)
class Relation:
    """One item of a FROM clause.

    Attributes:
        alias: How the block calls it, folded as the database folds it.
        name: The table, with its schema where it is written, or the CTE; None of a subquery.
        kind: What it is; a view is a "table" here, only a catalog knows it.
        block: The id of the block that a CTE or subquery is made by; None of everything else.
        hintable: Whether hints can name it: its alias stands for this relation alone in the whole query.
    """

    alias: str
    name: str | None
    kind: RelationKind
    block: int | None = None
    hintable: bool = True


@dataclass(frozen=True, slots=True)
class Edge:
    """A predicate that two or more relations of a block share.

    Attributes:
        aliases: The relations.
        condition: The predicate in a normal form, with aliases and literals as they are.
    """

    aliases: frozenset[str]
    condition: str


@dataclass(frozen=True, slots=True)
class OuterJoin:
    """A left join, and when it may be made (a right join is written as a left join, a full join fixes its block).

    Attributes:
        right: The aliases of its nullable side: they are joined with each other first, and with nothing else.
        requires: The aliases that its condition refers to on the other side: they are joined before it.
        condition: Its ON condition.
    """

    right: frozenset[str]
    requires: frozenset[str]
    condition: str


@dataclass(frozen=True, slots=True)
class Block:
    """One SELECT of a query, with a FROM clause of its own.

    Attributes:
        id: From 0, in the order the blocks stand in the query; 0 is the outermost.
        path: Where it stands, for a person: "the query", "the CTE best", "a subquery in WHERE", …
        parent: The block it stands in; None of the outermost.
        relations: The items of FROM, in order.
        edges: The predicates between them, outer joins' conditions included.
        filters: For each alias, the predicates on it alone, in a normal form.
        outer_joins: Its left joins.
        fixed: Why its join order cannot be changed; empty where it can.
    """

    id: int
    path: str
    parent: int | None
    relations: tuple[Relation, ...]
    edges: tuple[Edge, ...] = ()
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outer_joins: tuple[OuterJoin, ...] = ()
    fixed: str = ""

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases of its relations, in order."""
        return tuple(relation.alias for relation in self.relations)


@dataclass(frozen=True, slots=True)
class Query:
    """One query.

    Attributes:
        sql: Its text, as it was given.
        dialect: sqlglot's name of its language.
        blocks: Its SELECTs; the outermost first.
        fingerprint: 32 hexadecimal digits that do not depend on literals, layout, alias names, or the order of FROM items
            and of predicates, and differ where the structure does.
        literals: The literals in an order that belongs to the fingerprint: two queries with equal fingerprints and equal
            literals ask the same.
        tree: The syntax tree; not to be changed.
        reading: Whose every name is, and where it stands in the text: what rewriting works on.
        canonical: For each alias that hints can name, "t1", "t2", … in an order that belongs to the fingerprint: relations
            that correspond have one name in every query with this fingerprint. Numbers count all relations of the query.
    """

    sql: str
    dialect: str
    blocks: tuple[Block, ...]
    fingerprint: str
    literals: tuple[str, ...]
    tree: Expr = field(compare=False, repr=False)
    reading: Reading = field(compare=False, repr=False)
    canonical: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations of all blocks."""
        return tuple(relation for block in self.blocks for relation in block.relations)
