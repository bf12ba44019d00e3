"""Measures some legal plans of every query of the shop workload, into a journal: what rewards are fitted on and compared by.

Candidates are join orders of several proposers (random ones of any form and left-deep, cheap ones by the planner, changes
of the default), each query's drawn by its own seed, no two of them the same plan and none the default's. Defaults and
candidates are run in interleaved rounds (`trellis.measuring`); a candidate may take `FACTOR` times the default. What is in
the journal is not measured again, so a collection that was stopped goes on where it was.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import log
from pathlib import Path
from typing import Any

from trellis import Problem, Proposal, Step, Trajectory, build
from trellis.contracts import DatabaseBackend, Situation
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import measure
from trellis.memory.journal import Journal, MeasurementEntry, query_key
from trellis.memory.recording import entry_of
from trellis.sql.grammar import parse_hints
from trellis.sql.hints import PlanHints
from trellis.types import Split

HELD_OUT = ("hub_dimensions", "snowflake_review", "chain_tags")
FACTOR = 5.0
NUM_CANDIDATES = 16
ROUNDS: dict[Split, int] = {"train": 1, "validation": 2, "test": 3}
PER_TEMPLATE: dict[Split, int] = {"train": 12, "validation": 4, "test": 4}
PER_HELD_OUT = 8


@dataclass(frozen=True, slots=True)
class Ground:
    """The database and the workload on it."""

    database: DatabaseBackend
    task: Any

    def problems(self, split: Split) -> list[Problem]:
        """Return the split's queries that are measured: so many of each template, in the workload's order."""
        taken: dict[str, int] = {}
        found = []
        for problem in self.task.problems(split):
            template = str(problem.data["template"])
            taken[template] = taken.get(template, 0) + 1
            if taken[template] <= (PER_HELD_OUT if template in HELD_OUT else PER_TEMPLATE[split]):
                found.append(problem)
        return found


def ground(directory: Path, *, scale: float, num_queries: int, journal: Path) -> Ground:
    """Start the embedded server, load the shop into it once, and return the workload."""
    database = build("postgres", {"directory": str(directory)})
    config = {
        "scale": scale, "num_queries": num_queries, "held_out": list(HELD_OUT), "journal": str(journal),
    }  # fmt: skip
    return Ground(database, build("shop", config, database=database, prompt=build("compact", {"neighbours": 0})))


def candidates(situation: Situation, *, seed: int) -> list[Proposal]:
    """Return legal orders of one query, no two of one plan and none of the default's."""
    proposed = [
        build(name, config).propose(situation, count, seed=seed)
        for name, config, count in (
            ("random-orders", {}, 7),
            ("random-orders", {"bushy": False}, 4),
            ("proposers/planner-cost", {}, 4),
            ("moves", {"methods": False, "scans": False, "switches": False}, 6),
        )
    ]
    seen = {situation.plan.shape()}
    found: list[Proposal] = []
    # The planner's and the neighbouring ones first: there are few of them.
    for proposal in chain(*reversed(proposed), build("random-orders", {}).propose(situation, 40, seed=seed + 1)):
        plan = situation.plan_of(PlanHints(leading=proposal.hints.leading)) if proposal.hints.leading else None
        if plan is not None and plan.shape() not in seen and len(found) < NUM_CANDIDATES:
            seen.add(plan.shape())
            found.append(replace(proposal, hints=PlanHints(leading=proposal.hints.leading)))
    return found


def collect(ground: Ground, journal: Journal, split: Split) -> Iterator[tuple[Problem, list[MeasurementEntry]]]:
    """Measure what is not in the journal yet, and yield every query of the split with its measurements."""
    for number, problem in enumerate(ground.problems(split)):
        query = ground.database.parse(problem.text)
        key = query_key(query)
        known = journal.measurements(key=key, database=ground.database.identity)
        if not known:
            situation = ground.task.situation(problem)
            proposals = candidates(situation, seed=number)
            if not proposals:
                continue
            journal.add_query(query, name=problem.id)
            _measured(ground, journal, problem, proposals, key=key, rounds=ROUNDS[split], seed=number)
            known = journal.measurements(key=key, database=ground.database.identity)
        yield problem, known


def _measured(
    ground: Ground, journal: Journal, problem: Problem, proposals: list[Proposal], *, key: str, rounds: int, seed: int
) -> None:
    config = MeasureConfig(
        factor=FACTOR, pairs=rounds, min_pairs=rounds, floor_ms=5.0, timeout_ms=10_000, seed=seed, margin=0.1
    )
    query = ground.database.parse(problem.text)
    names = {str(place): proposal for place, proposal in enumerate(proposals)}
    measured = measure(ground.database, query, {name: one.hints for name, one in names.items()}, config)
    for name, one in names.items():
        entry = entry_of(
            measured, name, key=key, hints=str(one.hints), source=one.source, backend=ground.database, at=time.time()
        )
        journal.add_measurement(entry)


def export(ground: Ground, journal_path: Path, target: Path) -> None:
    """Collect all splits and write what fitting needs, a query a line: prompts, plans as decisions, gains, the planner's cost."""
    journal = Journal(journal_path)
    longer = build("compact", {"neighbours": 0, "conditions": True})
    with gzip.open(target, "wt", encoding="utf-8") as lines:
        for split in ("validation", "test", "train"):
            for number, (problem, entries) in enumerate(collect(ground, journal, split)):
                situation = ground.task.situation(problem)
                plans = [_plan(ground, situation, entry) for entry in entries if entry.speedup > 0]
                template = str(problem.data["template"])
                held_out = "unseen templates" if template in HELD_OUT else "new constants"
                record = {
                    "id": problem.id,
                    "template": template,
                    "split": held_out if split == "test" else split,
                    "sql": problem.text,
                    "default_ms": entries[-1].default_ms,
                    "prompt": ground.task.start(problem).prompt,
                    "with_conditions": longer.build(problem, situation),
                    "plans": plans,
                }
                lines.write(json.dumps(record) + "\n")
                if number % 10 == 0:
                    print(f"{split} {number}: {problem.id}, {len(plans)} plans", flush=True)
    journal.close()


def add_words(ground: Ground, target: Path) -> None:
    """Add to plans that were written before what the task says of their steps; asks for plans, runs nothing."""
    problems = {one.id: one for split in ROUNDS for one in ground.task.problems(split)}
    with gzip.open(target, "rt", encoding="utf-8") as lines:
        queries = [json.loads(line) for line in lines]
    with gzip.open(target, "wt", encoding="utf-8") as lines:
        for query in queries:
            for plan in query["plans"]:
                steps = tuple(map(Step, plan["steps"]))
                trajectory = Trajectory(problems[query["id"]], query["prompt"], steps, finished=True)
                plan["words"] = ground.task.step_words(trajectory)
            lines.write(json.dumps(query) + "\n")


def _plan(ground: Ground, situation: Situation, entry: MeasurementEntry) -> dict[str, Any]:
    hints = parse_hints(entry.hints)
    trajectory, plan = ground.task.trajectory(situation.problem, hints), situation.plan_of(hints)
    return {
        "steps": [step.text for step in trajectory.steps],
        "words": ground.task.step_words(trajectory),
        "gain": round(log(entry.speedup), 4),
        "bounded": entry.judgement == "timed out" and entry.pairs == 0,
        "faster": entry.judgement == "faster",
        "source": entry.source.split(":")[0],
        # As the reward `plan-cost` scores the whole plan.
        "cost": round(log(situation.plan.cost) - log(plan.cost), 4) if plan else -20.0,
    }
