"""Plan hints as an abstract syntax tree: what a model, a search or a person may ask of a planner.

The words are those of pg_hint_plan (https://pg-hint-plan.readthedocs.io/en/latest/hint_table.html), a subset of them with
stricter rules: every alias once per hint kind, methods and switches by name, nothing else. Text is read by
`trellis.sql.grammar`, never passed on: what reaches a database is written anew from this tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class JoinMethod(StrEnum):
    """How two inputs are joined; the values are the hints' keywords."""

    NEST_LOOP = "NestLoop"
    HASH = "HashJoin"
    MERGE = "MergeJoin"


class ScanMethod(StrEnum):
    """How a relation is read; the values are the hints' keywords."""

    SEQ = "SeqScan"
    INDEX = "IndexScan"
    INDEX_ONLY = "IndexOnlyScan"
    BITMAP = "BitmapScan"

    @property
    def takes_index(self) -> bool:
        """Whether the hint may name an index."""
        return self is not ScanMethod.SEQ


SWITCHES = (
    "enable_bitmapscan",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_memoize",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "enable_sort",
)
"""The planner settings that a hint may turn on or off for a whole query; none changes what may be read or how long."""

JoinTree: TypeAlias = "str | Join"
"""An alias, or a join of two trees."""


@dataclass(frozen=True, slots=True)
class Join:
    """A join of two trees; the left one is the outer input, the right one the inner (a hash join's build side)."""

    left: JoinTree
    right: JoinTree

    def __str__(self) -> str:
        written: list[str] = []
        left_to_write: list[JoinTree | tuple[str]] = [self]
        while left_to_write:
            node = left_to_write.pop()
            if isinstance(node, Join):
                left_to_write += [(")",), node.right, (" ",), node.left, ("(",)]
            else:
                written.append(node[0] if isinstance(node, tuple) else quoted(node))
        return "".join(written)


@dataclass(frozen=True, slots=True)
class JoinHint:
    """The method of the join whose result holds exactly these aliases."""

    aliases: frozenset[str]
    method: JoinMethod

    def __str__(self) -> str:
        return f"{self.method}({' '.join(quoted(alias) for alias in sorted(self.aliases))})"


@dataclass(frozen=True, slots=True)
class ScanHint:
    """How one alias is read; the index is the planner's choice where it is None."""

    alias: str
    method: ScanMethod
    index: str | None = None

    def __str__(self) -> str:
        return f"{self.method}({quoted(self.alias)}{'' if self.index is None else ' ' + quoted(self.index)})"


@dataclass(frozen=True, slots=True)
class Switch:
    """A planner setting for the whole query, one of `SWITCHES`."""

    name: str
    on: bool

    def __str__(self) -> str:
        return f"Set({self.name} {'on' if self.on else 'off'})"


@dataclass(frozen=True, slots=True)
class Leading:
    """The join order of one block of the query: a tree with two aliases or more, left-deep or bushy."""

    tree: Join

    def __str__(self) -> str:
        return f"Leading({self.tree})"


Hint: TypeAlias = "ScanHint | JoinHint | Leading | Switch"


@dataclass(frozen=True, slots=True)
class PlanHints:
    """Everything asked of the planner for one query; empty means its own plan.

    Equal hints are equal objects: the constructor puts each kind into its normal order.

    Attributes:
        scans: By alias; at most one per alias.
        joins: By number of aliases, then by name; at most one per set of aliases.
        leading: At most one tree per block of the query; no alias is in two.
        switches: By name; at most one per name.
    """

    scans: tuple[ScanHint, ...] = ()
    joins: tuple[JoinHint, ...] = ()
    leading: tuple[Leading, ...] = ()
    switches: tuple[Switch, ...] = ()

    def __post_init__(self) -> None:
        scans = sorted(self.scans, key=lambda hint: hint.alias)
        joins = sorted(self.joins, key=lambda hint: (len(hint.aliases), sorted(hint.aliases)))
        leading = sorted(self.leading, key=lambda hint: sorted(tree_aliases(hint.tree)))
        switches = sorted(self.switches, key=lambda hint: hint.name)
        for name, hints in (("scans", scans), ("joins", joins), ("leading", leading), ("switches", switches)):
            object.__setattr__(self, name, tuple(hints))

    def __iter__(self) -> Iterator[Hint]:
        yield from self.scans
        yield from self.joins
        yield from self.leading
        yield from self.switches

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def __str__(self) -> str:
        return self.render()

    def render(self, separator: str = " ") -> str:
        """Write the hints as text that `trellis.sql.parse_hints` reads back as an equal object."""
        return separator.join(str(hint) for hint in self)


def tree_aliases(tree: JoinTree) -> tuple[str, ...]:
    """Return the aliases of a tree, from left to right."""
    found: list[str] = []
    left_to_read: list[JoinTree] = [tree]
    while left_to_read:
        node = left_to_read.pop()
        if isinstance(node, str):
            found.append(node)
        else:
            left_to_read += [node.right, node.left]
    return tuple(found)


def tree_joins(tree: JoinTree) -> tuple[Join, ...]:
    """Return the joins of a tree in the order they can be made: inputs before the join that takes them."""
    if isinstance(tree, str):
        return ()
    return (*tree_joins(tree.left), *tree_joins(tree.right), tree)


def left_deep(inputs: Sequence[JoinTree]) -> Join:
    """Return the tree that joins two aliases or trees, or more, one after the other."""
    tree = inputs[0]
    for each in inputs[1:]:
        tree = Join(tree, each)
    assert isinstance(tree, Join)
    return tree


_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


def quoted(name: str) -> str:
    """Write an identifier as SQL does: quoted unless it is lower-case letters, digits and underscores."""
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'
