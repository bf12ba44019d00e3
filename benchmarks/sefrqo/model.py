"""The language model of the suite: trained on the best that was measured, as in pipelines/sefrqo.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sefrqo.suite import Sizes

from trellis import DatabaseBackend, Problem, PromptBuilder, Situation, TrainablePolicy, Trajectory, build
from trellis.contracts.database import NO_HINTS
from trellis.memory.memory import Memory
from trellis.types import Split, Step
from trellis_workload.config import MeasuredConfig
from trellis_workload.task import MeasuredTask, WorkloadQuery

WORDS = ("Join(", "Leading(", "default ", "near ", "((", "(", ")", "))", " ", "-", *(f"t{n}" for n in range(1, 17)))


class Queries(MeasuredTask):
    """Explored queries with a memory: prompts show similar queries' hints, and the trace of a query is the best measured.

    Where nothing beat the default, the default's own order is the best, and its trace.
    """

    def __init__(
        self, problems: Sequence[Problem], *, database: DatabaseBackend, prompt: PromptBuilder, memory: Memory | None
    ) -> None:
        journal = None if memory is None else str(memory.journal.path)
        super().__init__(MeasuredConfig(journal=journal), database=database, prompt=prompt)
        self._given = problems
        self.memory = memory

    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the queries that are explored."""
        return [WorkloadQuery(problem.id, problem.text, "train") for problem in self._given]

    def situation(self, problem: Problem) -> Situation:
        """Return what is known of a query, similar queries included."""
        found = super().situation(problem)
        if self.memory is None:
            return found
        return replace(found, neighbours=partial(self.memory.neighbours, found.query))

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return the best order of each query that was explored."""
        found = list(super().traces(split))
        known = {trace.problem.id for trace in found}
        for problem in self.problems(split):
            lines = [] if problem.id in known else self.lines(problem, NO_HINTS)
            if lines:
                steps = (*tuple(Step(line + self.separator) for line in lines[:-1]), Step(lines[-1]))
                trace = replace(self.start(problem), steps=steps, finished=True)
                found.append(replace(trace, answer=self.answer(trace)))
        return sorted(found, key=lambda trace: trace.problem.id)


class Model:
    """A policy with its prompt, for one record of a database.

    Args:
        sizes: Its size, and how long it is trained.
        seed: Of its first weights and its training.
        directory: Where it is kept.
        database: Whose queries it reads.
        problems: The queries that are explored.
        memory: What is known of them.
        references: Similar queries in its prompt.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        seed: int,
        directory: Path,
        database: DatabaseBackend,
        problems: Sequence[Problem],
        memory: Memory,
        references: int,
    ) -> None:
        self.sizes = sizes
        self.seed = seed
        self.directory = directory
        tables = sorted(table.name for table in database.catalog().tables.values())
        # "subquery", "cte" and the like stand where a table's name would.
        words = [*WORDS, *(f" {name} " for name in tables), " subquery ", " cte "]
        self.policy: TrainablePolicy = build(
            "transformers",
            {
                "init": dict(sizes.policy),
                "tokenizer": {"words": words, "numbers": 32},
                "cpu_threads": 1,
                "seed": seed,
                "device": "cpu",
            },
        )
        self.prompt: PromptBuilder = build("compact", {"neighbours": references})
        self.task = Queries(problems, database=database, prompt=self.prompt, memory=memory)
        if directory.exists():
            self.policy.load(directory)

    def train(self, steps: int, *, round_: int) -> None:
        """Train on the best so far, from the weights that it has.

        Args:
            steps: Gradient steps.
            round_: Which training this is; each draws its own batches.
        """
        sft = build("sft", {"steps": steps, "batch_size": 16, "learning_rate": 0.003})
        for _ in sft.train(policy=self.policy, task=self.task, seed=self.seed + 1000 * round_):
            pass

    def keep(self) -> None:
        """Write the weights."""
        self.directory.mkdir(parents=True)
        self.policy.save(self.directory)
