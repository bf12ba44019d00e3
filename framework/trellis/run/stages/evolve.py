"""The stage `evolve`: a workload is visited again and again, and with every execution its memory knows more.

All that was learned lies in the journal, which outlives the run: a second run of the stage on the same journal goes on from what
the first one knew, and whoever serves from the journal (`trellis.sql.connect`) has each decision as soon as it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from trellis.contracts import (
    DatabaseBackend,
    Embedder,
    Finding,
    Proposer,
    RetrievalStore,
    Stage,
    StageContext,
    StageStep,
    State,
    Task,
)
from trellis.errors import RunError
from trellis.exploring.explorer import Explored, Explorer
from trellis.memory.journal import Journal
from trellis.memory.memory import Memory, read_entry
from trellis.run.stages.config import EvolveConfig
from trellis.types import Problem


class Evolve(Stage):
    """Explores every query of a workload, some iterations long, or until an iteration changes nothing."""

    Config = EvolveConfig

    def __init__(
        self,
        config: EvolveConfig,
        *,
        task: Task,
        database: DatabaseBackend,
        proposer: Proposer,
        store: RetrievalStore | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        if (store is None) != (embedder is None):
            raise RunError("evolve takes a store and an embedder, or neither: each is of no use without the other")
        self.config = config
        self.task = task
        self.database = database
        self.proposer = proposer
        self.store = store
        self.embedder = embedder
        self._done = 0
        self._quiet = 0

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Yield a step per iteration."""
        c = self.config
        path = context.directory / "journal.sqlite" if c.journal is None else Path(c.journal).expanduser()
        problems = list(self.task.problems(c.split))[: c.queries]
        if not problems:
            raise RunError(f"there is nothing to explore: the workload's split '{c.split}' holds no queries")
        journal = Journal(path)
        try:
            memory = Memory(journal, database=self.database.identity, store=self.store, embedder=self.embedder)
            explorer = Explorer(self.database, memory=memory, proposer=self.proposer, config=c.explore, rank=None)
            if c.explore.share is not None:
                # A share is of the whole workload's time, which must be known before the first query is explored.
                for problem in problems:
                    explorer.measure_default(problem)
            while self._done < c.iterations and self._quiet < c.patience:
                number = self._done
                explored: list[Explored] = []
                stopped = ""
                for place, problem in enumerate(problems):
                    stopped = explorer.exhausted()
                    if stopped:
                        break
                    explored.append(explorer.explore(problem, seed=_seed(c.explore.seed or 0, number, place)))
                    context.progress(place + 1, len(problems))
                learned = self._learn(memory, seed=_seed(c.explore.seed or 0, number, len(problems)))
                self._done += 1
                changed = sum(one.decision is not None and one.decision.action != "keep default" for one in explored)
                self._quiet = 0 if changed else self._quiet + 1
                findings = list(_findings(explored, problems))
                if stopped:
                    self._done = c.iterations
                    findings.append(Finding("budget-spent", f"exploring ended after {stopped}"))
                elif self._quiet >= c.patience:
                    findings.append(
                        Finding(
                            "converged", f"no decision has changed in {self._quiet} iterations: the stage ends here"
                        )
                    )
                metrics = _metrics(explorer, explored) | {f"learn/{name}": value for name, value in learned.items()}
                ended = self._quiet >= c.patience
                yield StageStep(
                    self._done,
                    self._done if ended else c.iterations,
                    metrics,
                    checkpoint=True,
                    findings=tuple(findings),
                )
        finally:
            journal.close()

    def _learn(self, memory: Memory, *, seed: int) -> dict[str, float]:
        tried = memory.all_tried()
        entries = {entry.key: entry for entry in memory.journal.queries() if entry.key in tried}
        queries = {key: read_entry(entry) for key, entry in entries.items()}
        return dict(self.proposer.learn({key: tried[key] for key in queries}, queries, seed=seed))

    def state(self) -> State:
        """Return the iterations made; all else is in the journal."""
        return State(values={"done": self._done, "quiet": self._quiet})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._done = int(state.values["done"])  # type: ignore[arg-type]
        self._quiet = int(state.values["quiet"])  # type: ignore[arg-type]


def _seed(seed: int, iteration: int, place: int) -> int:
    return ((seed * 1_000_003 + iteration) * 1_000_003 + place) % 2**31


def _metrics(explorer: Explorer, explored: Sequence[Explored]) -> dict[str, float]:
    """Return what an iteration came to, over the queries that it visited."""
    usable = [one for one in explored if not one.skipped]
    default_ms = sum(one.default_ms for one in usable)
    best_ms = sum(one.best_ms for one in usable)
    ratios = [one.default_ms / one.best_ms for one in usable]
    metrics = {
        "queries": float(len(usable)),
        "skipped": float(len(explored) - len(usable)),
        "served": float(sum(one.best_ms < one.default_ms for one in usable)),
        "default_s": default_ms / 1000,
        "served_s": best_ms / 1000,
        "proposed": float(sum(one.proposed for one in usable)),
        "tried": float(sum(one.tried for one in usable)),
        "verified": float(sum(one.verified for one in usable)),
        "executions": float(explorer.spent.executions),
        "exploring_s": explorer.spent.seconds,
    }
    if ratios:
        metrics["speedup"] = math.exp(sum(map(math.log, ratios)) / len(ratios))
        metrics["total_speedup"] = default_ms / best_ms
    return metrics


def _findings(explored: Sequence[Explored], problems: Sequence[Problem]) -> Iterator[Finding]:
    skipped = [(one, problem) for one, problem in zip(explored, problems, strict=False) if one.skipped]
    if skipped:
        one, problem = skipped[0]
        others = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        yield Finding("queries-left-alone", f"{problem.id}{others}: {one.skipped}")
