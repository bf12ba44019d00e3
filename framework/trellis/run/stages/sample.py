"""The stage `sample`: rollouts of the policy as it is, stored for later stages.

With it `fit-reward` can be fitted on what the policy writes after supervised training, without any reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Iterator

from trellis.contracts import Executor, Policy, Stage, StageContext, StageStep, State, Task
from trellis.errors import RunError
from trellis.run.elsewhere import rollouts_of
from trellis.run.sampling import describe_rollouts
from trellis.run.stages.config import SampleConfig


class Sample(Stage):
    """Samples, judges and stores, some problems a step. Changes nothing."""

    Config = SampleConfig

    def __init__(self, config: SampleConfig, *, policy: Policy, task: Task, executor: Executor | None = None) -> None:
        self.config = config
        self.policy = policy
        self.task = task
        self.executor = executor
        self._done = 0

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Yield a step per `per_step` problems."""
        c = self.config
        problems = list(self.task.problems(c.split))[: c.problems]
        if not problems:
            raise RunError(f"there is nothing to sample: the task's split '{c.split}' holds no problems")
        total = -(-len(problems) // c.per_step)
        while self._done < total:
            rollouts = rollouts_of(
                problems[self._done * c.per_step : (self._done + 1) * c.per_step],
                context,
                policy=self.policy,
                task=self.task,
                executor=self.executor,
                n=c.n,
                temperature=c.temperature,
                max_tokens=c.max_tokens,
                seed=c.seed or 0,
                step=self._done,
                problems_per_item=c.problems_per_item,
            )
            self._done += 1
            yield StageStep(self._done, total, describe_rollouts(rollouts), tuple(rollouts), checkpoint=True)

    def state(self) -> State:
        """Return the steps done."""
        return State(values={"done": self._done})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._done = int(state.values["done"])  # type: ignore[arg-type]
