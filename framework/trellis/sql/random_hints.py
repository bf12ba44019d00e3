"""Random hints that are valid by construction, for tests, for exploring, and as the baseline that a model has to beat."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from trellis.sql.fit import orderable
from trellis.sql.hints import JoinHint, JoinMethod, Leading, PlanHints, ScanHint, ScanMethod, tree_aliases, tree_joins

if TYPE_CHECKING:
    from trellis.sql.catalog import Catalog
    from trellis.sql.query import Query


def random_hints(
    query: Query,
    rng: Random,
    *,
    catalog: Catalog | None = None,
    bushy: bool = True,
    methods: bool = True,
    scans: bool = True,
) -> PlanHints:
    """Return a random join order for every block that has several, with a random method per join and per scan.

    Args:
        query: The query.
        rng: The source of chance; equal states give equal hints.
        catalog: Where given, index scans are asked for by the table's indexes, and of tables that have one.
        bushy: Whether a join may have a join as its right input.
        methods: Whether each join gets a method.
        scans: Whether each table gets a scan method.
    """
    from trellis.sql.orders import random_tree

    leading: list[Leading] = []
    joins: list[JoinHint] = []
    for block in query.blocks:
        tree = random_tree(block, rng, bushy=bushy, cross_products=False) if orderable(block) else None
        if tree is not None:
            leading.append(Leading(tree))
            if methods:
                aliases = [frozenset(tree_aliases(join)) for join in tree_joins(tree)]
                joins += [JoinHint(each, rng.choice(tuple(JoinMethod))) for each in aliases]
    scan_hints: list[ScanHint] = []
    if scans:
        for relation in query.relations:
            if relation.hintable and relation.kind == "table" and relation.name is not None:
                table = None if catalog is None else catalog.table(relation.name)
                if table is not None and table.kind == "view":
                    continue
                indexes = [] if table is None else sorted(table.indexes)
                method = rng.choice(tuple(ScanMethod) if indexes or catalog is None else (ScanMethod.SEQ,))
                index = rng.choice((None, *indexes)) if method.takes_index else None
                scan_hints.append(ScanHint(relation.alias, method, index))
    return PlanHints(scans=tuple(scan_hints), joins=tuple(joins), leading=tuple(leading))
