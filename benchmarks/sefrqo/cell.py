"""One cell of the suite: a workload, and each method on it, by the loop that explores a query in production."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sefrqo.model import Model
from sefrqo.replayed import Replayed
from sefrqo.suite import ABLATIONS, EXPLORED, KS, METHODS, Method, Sizes
from sefrqo.truth import DECIDING, JUDGING, CannotBeMeasuredError, Truth
from sefrqo.workload import Workload

from trellis import DatabaseBackend, Embedder, Neighbour, Problem, Proposal, Proposer, Situation, build
from trellis.exploring.config import ExploreConfig
from trellis.exploring.explorer import Explorer
from trellis.memory.journal import Journal
from trellis.memory.memory import Memory
from trellis.sql.grammar import parse_hints
from trellis.sql.query import Query

Row = dict[str, Any]
ALL = METHODS | ABLATIONS


class Watched(Proposer):
    """A proposer whose last answer can be looked at."""

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer
        self.last: list[Proposal] = []

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return what the proposer says."""
        self.last = self.proposer.propose(situation, n, seed=seed)
        return self.last


class Unseen(Memory):
    """What is known while a query is met for the first time: similar queries of a record, and its own executions."""

    def __init__(self, journal: Journal, *, record: Memory | None, database: DatabaseBackend) -> None:
        super().__init__(journal, database=database.identity, parse=database.parse)
        self.record = record

    def neighbours(self, query: Query, k: int) -> list[Neighbour]:
        """Return similar queries of the record; what was found on other unseen queries is not among them."""
        return [] if self.record is None else self.record.neighbours(query, k)


class Cell:
    """A workload, and what its methods came to.

    Args:
        workload: The queries.
        database: The server as it is set; the workload's, or one with other settings.
        root: Where records, models and the table are kept.
        sizes: How much of everything.
        seed: Of all that is drawn.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        database: DatabaseBackend,
        root: Path,
        sizes: Sizes,
        seed: int,
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        self.workload = workload
        self.database = database
        self.root = root
        self.sizes = sizes
        self.seed = seed
        root.mkdir(parents=True, exist_ok=True)
        self.truth = Truth(root / "truth.sqlite", database)
        self.embedder: Embedder = build("sql-features", database=Replayed(self.truth))
        self.sets: dict[str, list[Problem]] = {}
        self.unusable: dict[str, str] = {**workload.unusable, **(unusable or {})}
        for name, problems in workload.sets.items():
            self.sets[name] = [problem for problem in problems if self._measurable(problem)]

    def _measurable(self, problem: Problem) -> bool:
        if problem.id in self.unusable:
            return False
        try:
            self.truth.default(self.database.parse(problem.text))
        except CannotBeMeasuredError as error:
            self.unusable[problem.id] = str(error)
            return False
        return True

    def described(self) -> Row:
        """Return the queries and their default's times."""
        return {
            "sets": {
                name: {
                    "ids": [problem.id for problem in problems],
                    "default_ms": [
                        round(self.truth.default(self.database.parse(problem.text)).latency_ms, 3)
                        for problem in problems
                    ],
                }
                for name, problems in self.sets.items()
            },
            "unusable": self.unusable,
            "server_version": self.database.server_version,
        }

    def measure(self, name: str) -> Row:
        """Run a method on every set, and return what it came to.

        Training queries are explored by methods that learn from them; by the others where there are no other queries. Each set
        has `first`, the speed-up of the first proposal, run as it is; and for each k of `KS` the speed-up
        of what is served after k tries (`served`), the tries and executions made, and the seconds of executions that they took.
        """
        method = ALL[name]
        started = time.perf_counter()
        found: Row = {}
        if method.record and not self._record(method.record).with_suffix(".json").exists():
            self._make_record(method.record)
        if method.record == name:
            found[EXPLORED] = json.loads(self._record(name).with_suffix(".json").read_text(encoding="utf-8"))
        with self._memory(method.record) as record:
            for set_, problems in self.sets.items():
                # What learns nothing from other queries is compared with what does on queries that neither has seen.
                if set_ == EXPLORED and (method.record or len(self.sets) > 1):
                    continue
                path = self.root / "unseen.sqlite"
                for old in path.parent.glob(f"{path.name}*"):
                    old.unlink()
                database = Replayed(self.truth)
                journal = Journal(path)
                memory = Unseen(journal, record=record, database=database)
                proposer = self._proposer(method, database, record)
                if record is not None:
                    proposer.learn(record.all_tried(), self._queries(record), seed=self.seed)
                found[set_] = self._explored(proposer, memory, problems, database, gain=method.gain)
                journal.close()
        found["took_s"] = round(time.perf_counter() - started, 1)
        return found

    def oracle(self) -> Row:
        """Return by set the speed-up of the fastest plan that any method has measured, judged by pairs of its own."""
        found: Row = {}
        for set_, problems in self.sets.items():
            ratios = []
            for problem in problems:
                query = self.database.parse(problem.text)
                best = self.truth.best(query)
                ratios.append(
                    round(self.truth.ratio(query, best, purpose=JUDGING, slowest=self.sizes.slowest), 4)
                    if best
                    else 1.0
                )
            found[set_] = ratios
        return found

    def close(self) -> None:
        """Close the table."""
        self.truth.close()

    def _make_record(self, name: str) -> None:
        """Explore the training queries, and learn after each visit to all of them.

        A language model has nothing to learn from at first: the portfolio proposes in its place until half of the tries are
        made.
        """
        path = self._record(name)
        # What an interrupted run has left behind.
        for old in path.parent.glob(f"{path.name}*"):
            old.unlink()
        shutil.rmtree(self.root / f"{name}-model", ignore_errors=True)
        method = ALL[name]
        problems = self.sets[EXPLORED]
        with self._memory(name) as memory:
            assert memory is not None
            database = Replayed(self.truth)
            after: Callable[[int], Proposer | None] | None = None
            if "language-model" in method.proposers:
                proposer = self._proposer(METHODS["portfolio"], database, memory)
                model = self._model(name, database, memory, references=method.references)

                def after(visit: int) -> Proposer | None:
                    if visit + 1 < len(KS) - self.sizes.lm_visits:
                        return None
                    rounds = self.sizes.lm_visits + 1
                    model.train(self.sizes.sft_steps // rounds, round_=visit)
                    language_model: Proposer = build(
                        "language-model",
                        dict(method.proposers["language-model"]),
                        policy=model.policy,
                        task=model.task,
                        prompt=model.prompt,
                    )
                    return language_model
            else:
                proposer = self._proposer(method, database, memory)

            def learn(visit: int) -> Proposer:
                nonlocal proposer
                new = None if after is None else after(visit)
                proposer = new or proposer
                proposer.learn(memory.all_tried(), self._queries(memory), seed=self.seed + visit)
                return proposer

            rows = self._explored(proposer, memory, problems, database, gain=method.gain, learn=learn)
            if "language-model" in method.proposers:
                model.keep()
        path.with_suffix(".json").write_text(json.dumps(rows) + "\n", encoding="utf-8")

    def _explored(
        self,
        proposer: Proposer,
        memory: Memory,
        problems: Sequence[Problem],
        database: DatabaseBackend,
        *,
        gain: bool,
        learn: Callable[[int], Proposer] | None = None,
    ) -> Row:
        """Visit every query until all tries are made; what was tried after a visit is a k of `KS`."""
        watched = Watched(proposer)
        explorer = Explorer(database, memory=memory, proposer=watched, config=self._config(KS[0]))
        first: list[float] = []
        columns: dict[str, list[list[float]]] = {
            name: [[] for _ in problems] for name in ("served", "tried", "executions", "seconds")
        }
        for visit, (k, before) in enumerate(zip(KS, (0, *KS), strict=False)):
            explorer.config = self._config(k - before)
            for place, problem in enumerate(problems):
                query = database.parse(problem.text)
                spent = explorer.spent.executions, explorer.spent.seconds
                explored = explorer.explore(problem, seed=(self.seed * 1009 + visit) * 1009 + place)
                if visit == 0:
                    first.append(self._first(watched.last, query, gain=gain))
                decisions = memory.journal.decisions(key=explored.key, database=memory.database)
                served = decisions[-1].hints if decisions and decisions[-1].action == "serve" else ""
                speedup = (
                    self.truth.ratio(query, parse_hints(served), purpose=JUDGING, slowest=self.sizes.slowest)
                    if served
                    else 1.0
                )
                now = explorer.spent.executions - spent[0], explorer.spent.seconds - spent[1]
                for name, value in (("served", speedup), ("tried", explored.tried), ("executions", now[0])):
                    columns[name][place].append(round(value, 4))
                columns["seconds"][place].append(round(now[1], 6))
            if learn is not None:
                watched.proposer = learn(visit)
        return {"first": [round(ratio, 4) for ratio in first], **columns}

    def _first(self, proposals: Sequence[Proposal], query: Query, *, gain: bool) -> float:
        """Return the speed-up of what would run unguarded: the first proposal."""
        if not proposals or (gain and (proposals[0].score or 0.0) <= 0):
            return 1.0
        return self.truth.ratio(query, proposals[0].hints, purpose=DECIDING, slowest=self.sizes.slowest)

    def _config(self, tried: int) -> ExploreConfig:
        return ExploreConfig(proposals=max(self.sizes.proposals, tried), tried=tried, seed=self.seed)

    def _proposer(self, method: Method, database: DatabaseBackend, record: Memory | None) -> Proposer:
        made: dict[str, Proposer] = {}
        for use, config in method.proposers.items():
            if use == "language-model":
                assert record is not None
                model = self._model(method.record, database, record, references=ALL[method.record].references)
                made[use] = build(use, dict(config), policy=model.policy, task=model.task, prompt=model.prompt)
            elif use == "bao":
                made[use] = build(use, dict(config), database=database)
            else:
                made[use] = build(use, dict(config))
        if len(made) == 1:
            return next(iter(made.values()))
        portfolio: Proposer = build("portfolio", proposers=made)
        return portfolio

    def _model(self, record: str, database: DatabaseBackend, memory: Memory, *, references: int) -> Model:
        return Model(
            self.sizes,
            seed=self.seed,
            directory=self.root / f"{record}-model",
            database=database,
            problems=self.sets[EXPLORED],
            memory=memory,
            references=references,
        )

    def _record(self, name: str) -> Path:
        return self.root / f"record-{name.replace(' ', '')}.sqlite"

    @contextmanager
    def _memory(self, name: str) -> Iterator[Memory | None]:
        """Open a record; None for the name of none."""
        if not name:
            yield None
            return
        path = self._record(name)
        journal = Journal(path)
        store = build("sqlite", {"path": f"{path}.vectors"})
        try:
            yield Memory(
                journal,
                database=self.database.identity,
                store=store,
                embedder=self.embedder,
                parse=self.database.parse,
            )
        finally:
            store.close()
            journal.close()

    def _queries(self, memory: Memory) -> dict[str, Query]:
        return {entry.key: memory.read(entry) for entry in memory.journal.queries()}
