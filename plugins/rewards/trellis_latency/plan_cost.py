"""The planner's cost as a reward: nothing learned, nothing executed, one EXPLAIN for each prefix.

A finished plan's score is log(cost of the default) - log(cost under its decisions): the gain that the planner expects. A
prefix is scored as the plan that it becomes by the first legal line, time and again: what the joins made so far cost, and
an arbitrary rest, the same for all that asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import log

from trellis import DatabaseBackend, RewardModel, Step, Task, Trajectory
from trellis.errors import ConnectionLostError, SQLError
from trellis.sql.plan import Plan
from trellis_latency.config import PlannerCostConfig

_WORST = -20.0
"""The score of what the planner cannot plan: e^20 times the default's cost."""


class PlanCost(RewardModel):
    """The gain that the planner expects of join decisions; the same whenever it is asked for, as long as statistics are."""

    Config = PlannerCostConfig

    def __init__(self, config: PlannerCostConfig, *, task: Task, database: DatabaseBackend) -> None:
        self.config = config
        self.task = task
        self.database = database
        self._scored = lru_cache(maxsize=100_000)(self._score)
        self._default = lru_cache(maxsize=10_000)(self._default_cost)

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the expected gain of every prefix."""
        return [
            [self._scored(_prefix(trajectory, count)) for count in range(1, len(trajectory.steps) + 1)]
            for trajectory in trajectories
        ]

    def _score(self, prefix: Trajectory) -> float:
        try:
            cost = self._planned(self._ended(prefix)).cost
        except ConnectionLostError:
            raise
        except SQLError:
            return _WORST
        return max(_WORST, log(self._default(prefix.problem.text)) - log(max(cost, 1e-3)))

    def _ended(self, prefix: Trajectory) -> Trajectory:
        """Write the first legal line until there is none."""
        while legal := self.task.legal_steps(prefix):
            prefix = replace(prefix, steps=(*prefix.steps, Step(legal[0])))
        return replace(prefix, finished=True)

    def _planned(self, trajectory: Trajectory) -> Plan:
        query = self.database.parse(trajectory.problem.text)
        return self.database.explain(query, self.task.hints(trajectory))

    def _default_cost(self, sql: str) -> float:
        return max(self.database.explain(self.database.parse(sql)).cost, 1e-3)


def _prefix(trajectory: Trajectory, count: int) -> Trajectory:
    """Return the first steps as text alone, so that equal ones are asked about once."""
    steps = tuple(Step(step.text) for step in trajectory.steps[:count])
    return replace(trajectory, steps=steps, finished=False, cut=False, answer=None)
