"""A workload explored again and again: iterations over its queries, with what was learned in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trellis.exploring.explorer import Explorer
from trellis.exploring.visit import Explored
from trellis.types import Problem


@dataclass(frozen=True, slots=True)
class Iteration:
    """One visit to each query of a workload.

    Attributes:
        number: From 1.
        explored: What each visit came to, in the order of visits; fewer than queries where a bound ended it.
        places: The place in the workload of each query that was visited.
        learned: What the proposer's `learn` reported.
        quiet: So many iterations in a row, this one included, have changed no decision.
        stopped: The bound that ended it; empty where none did.
    """

    number: int
    explored: tuple[Explored, ...]
    places: tuple[int, ...]
    learned: dict[str, float]
    quiet: int
    stopped: str = ""

    def metrics(self) -> dict[str, float]:
        """Return what it came to, over the queries that were visited and not skipped."""
        usable = [one for one in self.explored if not one.skipped]
        default_ms = sum(one.default_ms for one in usable)
        best_ms = sum(one.best_ms for one in usable)
        metrics = {
            "queries": float(len(usable)),
            "skipped": float(len(self.explored) - len(usable)),
            "served": float(sum(one.best_ms < one.default_ms for one in usable)),
            "default_s": default_ms / 1000,
            "served_s": best_ms / 1000,
            "proposed": float(sum(one.proposed for one in usable)),
            "tried": float(sum(one.tried for one in usable)),
            "verified": float(sum(one.verified for one in usable)),
        }
        if usable:
            logs = [math.log(one.default_ms / one.best_ms) for one in usable]
            metrics["speedup"] = math.exp(sum(logs) / len(logs))
            metrics["total_speedup"] = default_ms / best_ms
        return metrics


def explore_workload(
    explorer: Explorer,
    problems: Sequence[Problem],
    *,
    iterations: int,
    patience: int,
    done: int = 0,
    quiet: int = 0,
    on_query: Callable[[int, Explored], None] | None = None,
) -> Iterator[Iteration]:
    """Yield an iteration after another, until all are made, a bound is reached, or nothing changes any more.

    Args:
        explorer: Explores each query.
        problems: The workload's queries.
        iterations: At most so many.
        patience: It ends after so many iterations in a row that changed no decision.
        done: Iterations made before, which count.
        quiet: How many of them, the last ones, changed no decision.
        on_query: Told of each visit as it ends, with the query's place.
    """
    if explorer.config.share is not None:
        # A share is of the whole workload's time, which must be known before the first query is explored.
        for problem in problems:
            explorer.measure_default(problem)
    while done < iterations and quiet < patience:
        seed = explorer.config.seed or 0
        explorer.look()
        explored: list[Explored] = []
        places: list[int] = []
        stopped = ""
        # A bound may end it early: first come queries of which least is known, new ones and those that have drifted.
        num_known = [explorer.num_known(problem) for problem in problems]
        for place in sorted(range(len(problems)), key=num_known.__getitem__):
            stopped = explorer.exhausted()
            if stopped:
                break
            explored.append(explorer.explore(problems[place], seed=_seed(seed, done, place)))
            places.append(place)
            if on_query is not None:
                on_query(place, explored[-1])
        learned = _learn(explorer, seed=_seed(seed, done, len(problems)))
        changed = any(one.decision is not None and one.decision.action != "keep default" for one in explored)
        quiet = 0 if changed else quiet + 1
        done += 1
        yield Iteration(done, tuple(explored), tuple(places), learned, quiet, stopped)
        if stopped:
            return


def _learn(explorer: Explorer, *, seed: int) -> dict[str, float]:
    tried = explorer.memory.all_tried()
    entries = {entry.key: entry for entry in explorer.journal.queries() if entry.key in tried}
    queries = {key: explorer.memory.read(entry) for key, entry in entries.items()}
    return dict(explorer.proposer.learn({key: tried[key] for key in queries}, queries, seed=seed))


def _seed(seed: int, iteration: int, place: int) -> int:
    return ((seed * 1_000_003 + iteration) * 1_000_003 + place) % 2**31
