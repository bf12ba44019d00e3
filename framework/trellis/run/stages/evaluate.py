"""The stage `evaluate`: measures searches and rewards, for one or several states of the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from trellis.contracts import (
    Executor,
    Policy,
    RewardModel,
    SearchAlgorithm,
    Stage,
    StageContext,
    StageStep,
    State,
    Task,
)
from trellis.contracts.policy import TrainablePolicy
from trellis.errors import CapabilityError
from trellis.run.elsewhere import search_elsewhere
from trellis.run.evaluate import Searcher, check_rewards, evaluate, num_rows
from trellis.run.stages.config import EvaluateConfig
from trellis.search import SearchReport
from trellis.types import JSON, Budget, Problem


class Evaluate(Stage):
    """Yields one row per policy state, search and reward."""

    Config = EvaluateConfig

    def __init__(
        self,
        config: EvaluateConfig,
        *,
        policy: Policy,
        task: Task,
        searches: Mapping[str, SearchAlgorithm],
        reward: Mapping[str, RewardModel],
        executor: Executor | None = None,
    ) -> None:
        self.config = config
        self.policy = policy
        self.task = task
        self.searches = searches
        self.rewards = reward
        self.executor = executor
        self._rows: list[Mapping[str, JSON]] = []
        check_rewards(searches, reward)
        if config.weights and not isinstance(policy, TrainablePolicy):
            raise CapabilityError("evaluate", capability="weights to load", mend="leave out `weights` for this policy.")

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Yield a step per row; afterwards the policy has its latest weights again."""
        latest = context.checkpoint(None, self.policy) if self.config.weights else None
        try:
            yield from self._rows_of_all(context)
        finally:
            if latest is not None:
                cast(TrainablePolicy, self.policy).load(latest)

    def _rows_of_all(self, context: StageContext) -> Iterator[StageStep]:
        name = context.name_of(self.policy)
        states = self.config.weights or (None,)
        total = len(states) * num_rows(self.searches, self.rewards)
        step = 0
        for weights in states:
            if weights is not None:
                cast(TrainablePolicy, self.policy).load(context.checkpoint(weights, self.policy))
            for search_name, search in self.searches.items():
                for reward_name in self.rewards if search.needs_reward else [None]:
                    step += 1
                    if step <= len(self._rows):
                        continue
                    (row,) = evaluate(
                        policy=self.policy,
                        task=self.task,
                        searches={search_name: search},
                        rewards={reward_name: self.rewards[reward_name]} if reward_name else {},
                        split=self.config.split,
                        num_problems=self.config.problems,
                        budget=Budget(**self.config.budget.model_dump()),
                        max_tokens=self.config.max_tokens,
                        max_steps=self.config.max_steps,
                        batch_problems=self.config.batch_problems,
                        seed=self.config.seed or 0,
                        policy_name=f"{name}@{weights}" if weights else name,
                        trees=context.directory if self.config.trees else None,
                        progress=context.progress,
                        searcher=self._searcher(context, weights),
                    )
                    record = row.model_dump(mode="json")
                    self._rows.append(record)
                    yield StageStep(step, total, {"accuracy": row.accuracy}, row=record, checkpoint=True)

    def _searcher(self, context: StageContext, weights: str | None) -> Searcher | None:
        """Return what runs searches by the executor, with the policy as it was after a stage; None without an executor."""
        executor, policy = self.executor, context.name_of(self.policy)
        if executor is None:
            return None
        # All that the stage uses, so that a worker builds it once for all rows.
        parts = [self.policy, self.task, *self.searches.values(), *self.rewards.values()]
        recipe = context.recipe(parts, at={} if weights is None else {policy: weights})

        def search_by_executor(
            problems: Sequence[Problem], *, search: str, reward: str | None, settings: Mapping[str, Any]
        ) -> list[tuple[SearchReport, str | None]]:
            names = {"search": search, "policy": policy, "task": context.name_of(self.task)}
            return search_elsewhere(
                problems,
                executor=executor,
                recipe=recipe,
                names=names if reward is None else {**names, "reward": reward},
                settings=settings,
                trees=self.config.trees,
                problems_per_item=self.config.problems_per_item,
                progress=context.progress,
            )

        return search_by_executor

    def state(self) -> State:
        """Return the rows measured so far."""
        return State(values={"rows": self._rows})

    def restore(self, state: State) -> None:
        """Take the rows measured so far."""
        self._rows = list(cast("list[Mapping[str, JSON]]", state.values["rows"]))
