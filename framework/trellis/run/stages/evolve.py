"""The stage `evolve`: a workload is visited again and again, and with every execution its memory knows more.

All that was learned lies in the journal, which outlives the run: a second run of the stage on the same journal goes on from what
the first one knew, and whoever serves from the journal (`trellis.sql.connect`) has each decision as soon as it is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from trellis.contracts import (
    DatabaseBackend,
    Embedder,
    Finding,
    Policy,
    Proposer,
    RetrievalStore,
    RewardModel,
    Stage,
    StageContext,
    StageStep,
    State,
    Task,
)
from trellis.distributed import world
from trellis.errors import CapabilityError, RunError
from trellis.exploring.explorer import Explorer
from trellis.exploring.ranking import RewardRanker
from trellis.exploring.workload import Iteration, explore_workload
from trellis.memory.journal import Journal
from trellis.memory.memory import Memory
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
        reward: RewardModel | None = None,
        policy: Policy | None = None,
    ) -> None:
        if (store is None) != (embedder is None):
            raise RunError("evolve takes a store and an embedder, or neither: each is of no use without the other")
        if world().size > 1:
            mend = "processes that run queries at once would measure each other. Run this pipeline without torchrun."
            raise CapabilityError("evolve", capability=f"use for {world().size} processes", mend=mend)
        self.config = config
        self.task = task
        self.database = database
        self.proposer = proposer
        self.store = store
        self.embedder = embedder
        self.rank = None if reward is None else RewardRanker(task, reward=reward, policy=policy)
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
        visits = itertools.count()
        try:
            memory = Memory(
                journal,
                database=self.database.identity,
                store=self.store,
                embedder=self.embedder,
                parse=self.database.parse,
            )
            explorer = Explorer(self.database, memory=memory, proposer=self.proposer, config=c.explore, rank=self.rank)
            for iteration in explore_workload(
                explorer,
                problems,
                iterations=c.iterations,
                patience=c.patience,
                done=self._done,
                quiet=self._quiet,
                on_query=lambda *_: context.progress(next(visits) % len(problems) + 1, len(problems)),
            ):
                self._done, self._quiet = iteration.number, iteration.quiet
                ends = bool(iteration.stopped) or self._quiet >= c.patience
                if iteration.stopped:
                    # Nothing is left to spend, and a run that is resumed would find the same.
                    self._done = c.iterations
                yield StageStep(
                    iteration.number,
                    iteration.number if ends else c.iterations,
                    {
                        **iteration.metrics(),
                        "executions": float(explorer.spent.executions),
                        "exploring_s": explorer.spent.seconds,
                        **{f"learn/{name}": value for name, value in iteration.learned.items()},
                    },
                    checkpoint=True,
                    findings=tuple(_findings(iteration, problems, c)),
                )
        finally:
            journal.close()

    def state(self) -> State:
        """Return the iterations made; all else is in the journal."""
        return State(values={"done": self._done, "quiet": self._quiet})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._done = int(state.values["done"])  # type: ignore[arg-type]
        self._quiet = int(state.values["quiet"])  # type: ignore[arg-type]


def _findings(iteration: Iteration, problems: Sequence[Problem], config: EvolveConfig) -> Iterator[Finding]:
    visits = zip(iteration.explored, iteration.places, strict=True)
    skipped = [(one, problems[place]) for one, place in visits if one.skipped]
    if skipped:
        one, problem = skipped[0]
        others = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        yield Finding("queries-left-alone", f"{problem.id}{others}: {one.skipped}")
    if iteration.stopped:
        yield Finding("budget-spent", f"exploring ended after {iteration.stopped}")
    elif iteration.quiet >= config.patience:
        yield Finding("converged", f"no decision has changed in {iteration.quiet} iterations: the stage ends here")
