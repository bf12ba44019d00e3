"""Hints under other names of the relations, and back: what is said to a model is not what is said to a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trellis.errors import HintError, did_you_mean
from trellis.sql.hints import Hint, Join, JoinHint, JoinTree, Leading, PlanHints, ScanHint, quoted

if TYPE_CHECKING:
    from trellis.sql.query import Query


@dataclass(frozen=True, slots=True)
class Renaming:
    """One name for each alias, no two alike.

    Attributes:
        names: The name of each alias that hints can say; without any, every alias keeps its own.

    Example:
        >>> from trellis.sql import parse_hints
        >>> renaming = Renaming({"c": "t1", "o": "t2"})
        >>> print(renaming.apply(parse_hints("Leading((o c))")))
        Leading((t2 t1))
        >>> print(renaming.undo(parse_hints("Leading((t2 t1))")))
        Leading((o c))
    """

    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.names.values())) < len(self.names):
            raise ValueError("two aliases have one name: nobody could tell them apart in an answer")

    @classmethod
    def canonical(cls, query: Query) -> Renaming:
        """Return the renaming to the names of `Query.canonical`."""
        return cls(query.canonical)

    def apply(self, hints: PlanHints) -> PlanHints:
        """Return hints in the query's aliases under the other names.

        Raises:
            HintError: A hint names no alias of the query.
        """
        return _renamed(hints, self.names)

    def undo(self, hints: PlanHints) -> PlanHints:
        """Return hints under the other names in the query's aliases.

        Raises:
            HintError: A hint has a name that stands for no alias, with the names that do.
        """
        return _renamed(hints, {name: alias for alias, name in self.names.items()})

    def query(self, query: Query) -> Query:
        """Return a query whose relations have the other names: for the grammar of an answer, not to be sent anywhere."""
        if not self.names:
            return query
        blocks = tuple(
            replace(
                block,
                relations=tuple(
                    replace(relation, alias=self.names[relation.alias]) if relation.hintable else relation
                    for relation in block.relations
                ),
                edges=tuple(replace(edge, aliases=self._all(edge.aliases)) for edge in block.edges),
                filters={self.names.get(alias, alias): texts for alias, texts in block.filters.items()},
                outer_joins=tuple(
                    replace(outer, right=self._all(outer.right), requires=self._all(outer.requires))
                    for outer in block.outer_joins
                ),
            )
            for block in query.blocks
        )
        return replace(query, blocks=blocks)

    def _all(self, aliases: frozenset[str]) -> frozenset[str]:
        return frozenset(self.names.get(alias, alias) for alias in aliases)


def _renamed(hints: PlanHints, names: Mapping[str, str]) -> PlanHints:
    if not names:
        return hints

    def new(alias: str, hint: Hint) -> str:
        if alias not in names:
            reason = f"there is no {quoted(alias)}{did_you_mean(alias, names)}"
            raise HintError(str(hint), reason=reason, choices=sorted(names))
        return names[alias]

    def tree(node: JoinTree, hint: Leading) -> JoinTree:
        return new(node, hint) if isinstance(node, str) else join(node, hint)

    def join(node: Join, hint: Leading) -> Join:
        return Join(tree(node.left, hint), tree(node.right, hint))

    return PlanHints(
        scans=tuple(ScanHint(new(hint.alias, hint), hint.method, hint.index) for hint in hints.scans),
        joins=tuple(
            JoinHint(frozenset(new(alias, hint) for alias in hint.aliases), hint.method) for hint in hints.joins
        ),
        leading=tuple(Leading(join(hint.tree, hint)) for hint in hints.leading),
        switches=hints.switches,
    )
