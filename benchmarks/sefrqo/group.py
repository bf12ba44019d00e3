"""A workload's results under all of its seeds, and what of them several tables say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sefrqo.measures import at_budget, slowest
from sefrqo.suite import EXPLORED, KS, METHODS, NEW, UNSEEN

OVER = 1.05
"""What is slower than this counts as a loss."""
LAST = len(KS) - 1


@dataclass(frozen=True, slots=True)
class Group:
    """A workload under all of its seeds.

    Attributes:
        name: "shop", or a folder's.
        cells: By seed, what was measured.
    """

    name: str
    cells: Mapping[int, Mapping[str, Any]]

    def sets(self) -> list[str]:
        """Return the sets that there are."""
        found = {name for cell in self.cells.values() for name in cell["workload"]["sets"]}
        return [name for name in (EXPLORED, NEW, UNSEEN) if name in found]

    def methods(self, set_: str) -> list[str]:
        """Return the methods measured on a set under every seed."""
        return [m for m in METHODS if all(set_ in cell.get("methods", {}).get(m, {}) for cell in self.cells.values())]

    def default_ms(self, set_: str) -> list[float]:
        """Return the default's times."""
        return [ms for cell in self.cells.values() for ms in cell["workload"]["sets"][set_]["default_ms"]]

    def clusters(self, set_: str) -> list[str]:
        """Return what is drawn as one: a folder's query is the same under every seed, the shop's are others."""
        shop = self.name == "shop"
        return [
            f"{seed if shop else ''}/{id_}"
            for seed, cell in self.cells.items()
            for id_ in cell["workload"]["sets"][set_]["ids"]
        ]

    def oracle(self, set_: str) -> list[float]:
        """Return the oracle's speed-ups."""
        return [ratio for cell in self.cells.values() for ratio in cell["oracle"][set_]]

    def first(self, set_: str, method: str) -> list[float]:
        """Return a method's first shots."""
        return [ratio for cell in self.cells.values() for ratio in cell["methods"][method][set_]["first"]]

    def served(self, set_: str, method: str, place: int) -> list[float]:
        """Return what is served after KS[place] tries."""
        rows = (row for cell in self.cells.values() for row in cell["methods"][method][set_]["served"])
        return [row[place] for row in rows]

    def column(self, set_: str, method: str, name: str) -> list[list[float]]:
        """Return the visits' numbers, a row for each query."""
        return [row for cell in self.cells.values() for row in cell["methods"][method][set_][name]]


def decisions(group: Group) -> tuple[int, int, float]:
    """Return how many plans any method served, how many of them lost more than 5%, and the worst loss."""
    # A plan has one speed-up, whoever serves it.
    plans = {
        (set_, query, speedup)
        for set_ in group.sets()
        for method in group.methods(set_)
        for place in range(len(KS))
        for query, speedup in enumerate(group.served(set_, method, place))
        if speedup != 1.0
    }
    speedups = [speedup for *_, speedup in plans]
    return len(speedups), sum(speedup * OVER < 1 for speedup in speedups), slowest(speedups) if speedups else 1.0


def outside(group: Group) -> tuple[list[int], str]:
    """Return the explored queries without the longest one that no plan makes faster, and the name of that one.

    Where a query could not be measured at all, it was the longest, and none of the others is left out.
    """
    default_ms, oracle = group.default_ms(EXPLORED), group.oracle(EXPLORED)
    ids = [id_ for cell in group.cells.values() for id_ in cell["workload"]["sets"][EXPLORED]["ids"]]
    left_out = any(cell["workload"]["unusable"] for cell in group.cells.values())
    hopeless = [] if left_out else [i for i, speedup in enumerate(oracle) if speedup < 1.1]
    out = ids[max(hopeless, key=lambda i: default_ms[i])] if hopeless else ""
    return [i for i, id_ in enumerate(ids) if id_ != out], out


def off(group: Group, method: str, *, kept: Sequence[int]) -> tuple[float, float]:
    """Return what a method takes off the total of these queries, within 10 times the workload's time and to the end."""
    default_ms = group.default_ms(EXPLORED)
    at_10: list[float] = []
    for cell in group.cells.values():
        rows = cell["methods"][method][EXPLORED]
        total_s = sum(cell["workload"]["sets"][EXPLORED]["default_ms"]) / 1000
        at_10 += at_budget(rows["served"], rows["seconds"], 10 * total_s)[0]
    return off_by(default_ms, at_10, kept), off_by(default_ms, group.served(EXPLORED, method, LAST), kept)


def off_by(default_ms: Sequence[float], speedups: Sequence[float], kept: Sequence[int]) -> float:
    return 1 - sum(default_ms[i] / speedups[i] for i in kept) / sum(default_ms[i] for i in kept)
