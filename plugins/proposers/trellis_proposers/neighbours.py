"""The best hints of similar queries, carried over to this one.

A query with the same fingerprint differs in constants and names alone: its canonical names are this one's, and hints carry
over as they are. Of any other, what two queries share are tables: the part of its order over common tables is completed to an
order of this query by the default plan's own, and methods, scans and switches go with it as far as they fit.

What SEFRQO puts into a prompt as a reference (Liu et al. 2025, "SEFRQO: A Self-Evolving Fine-Tuned RAG-Based Query Optimizer",
https://arxiv.org/abs/2508.17556) is here the proposal itself: the baseline that a model with references has to beat.
"""

from __future__ import annotations

from collections.abc import Iterator

from trellis import Neighbour, Proposal, Proposer, Situation
from trellis.sql.fit import orderable
from trellis.sql.hints import Join, JoinHint, Leading, PlanHints, ScanHint, tree_aliases
from trellis.sql.query import Query
from trellis.sql.renaming import Renaming
from trellis_proposers.config import NeighboursConfig
from trellis_proposers.picking import fitting, picked
from trellis_proposers.trees import completed, own_order, restricted


class Neighbours(Proposer):
    """Transplants, the most similar query's first; of queries on which nothing was faster, none."""

    Config = NeighboursConfig

    def __init__(self, config: NeighboursConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n proposals, their score the similarity; the seed changes nothing."""
        return picked(self._carried(situation), situation, n)

    def _carried(self, situation: Situation) -> Iterator[Proposal]:
        found = sorted(situation.neighbours(self.config.neighbours), key=lambda one: -one.similarity)
        for neighbour in found:
            hints = None
            if neighbour.best.speedup > 1 and neighbour.best.hints:
                if neighbour.same_template:
                    hints = same_names(neighbour.best.hints, neighbour.query, situation.query)
                if hints is None and self.config.other_templates:
                    hints = by_tables(neighbour, situation)
            if hints is not None:
                source = f"neighbours: {neighbour.best.speedup:.2g}x on one of similarity {neighbour.similarity:.2f}"
                yield Proposal(fitting(hints, situation), source, neighbour.similarity)


def same_names(hints: PlanHints, there: Query, here: Query) -> PlanHints | None:
    """Return hints of a query with the same fingerprint under this query's aliases; None where names do not correspond."""
    if set(there.canonical.values()) != set(here.canonical.values()):
        return None
    return Renaming.canonical(here).undo(Renaming.canonical(there).apply(hints))


def by_tables(neighbour: Neighbour, situation: Situation) -> PlanHints:
    """Return what carries over from a query of another structure; indexes and joins of it may be missing here."""
    query, theirs = situation.query, neighbour.best.hints
    names = common(neighbour.query, query)
    leading: list[Leading] = []
    for block in query.blocks:
        own = own_order(situation, block) if orderable(block) else None
        if own is None:
            continue
        here = {there: name for there, name in names.items() if name in block.aliases}
        parts = [part for each in theirs.leading if isinstance(part := restricted(each.tree, here), Join)]
        tree = completed(max(parts, key=lambda part: len(tree_aliases(part))), block, own) if parts else None
        leading += [Leading(tree)] if tree is not None else []
    joins = [
        JoinHint(frozenset(names[alias] for alias in hint.aliases), hint.method)
        for hint in theirs.joins
        if hint.aliases <= names.keys()
    ]
    scans = [ScanHint(names[hint.alias], hint.method, hint.index) for hint in theirs.scans if hint.alias in names]
    return PlanHints(scans=tuple(scans), joins=tuple(joins), leading=tuple(leading), switches=theirs.switches)


def common(there: Query, here: Query) -> dict[str, str]:
    """Return for aliases of one query those of another that stand for the same table, several in canonical order."""
    ours, theirs = _by_table(here), _by_table(there)
    return {
        alias: name
        for table, aliases in theirs.items()
        for alias, name in zip(aliases, ours.get(table, ()), strict=False)
    }


def _by_table(query: Query) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    order = sorted(query.canonical, key=lambda alias: int(query.canonical[alias][1:]))
    tables = {
        r.alias: r.name.rpartition(".")[2] for r in query.relations if r.hintable and r.kind == "table" and r.name
    }
    for alias in order:
        if alias in tables:
            found.setdefault(tables[alias], []).append(alias)
    return found
