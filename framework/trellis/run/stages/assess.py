"""The stage `assess`: measures the policy and rewards on rollouts alone, without any search.

The rollouts are sampled once, and every reward judges the same. They are files of the stage's own, not stored for later
stages: a reward must not be fitted on what it was measured on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from trellis.contracts import Executor, Finding, Policy, RewardModel, Stage, StageContext, StageStep, State, Task
from trellis.distributed import world
from trellis.errors import RunError
from trellis.records import rollout_from_json, rollout_to_json
from trellis.run.assess import assess_policy, assess_reward, step_labels
from trellis.run.elsewhere import rollouts_of
from trellis.run.files import write_atomic
from trellis.run.sampling import describe_rollouts
from trellis.run.stages.config import AssessConfig
from trellis.types import Rollout


class Assess(Stage):
    """Yields steps that sample, one that measures the policy, and one per reward."""

    Config = AssessConfig

    def __init__(
        self,
        config: AssessConfig,
        *,
        policy: Policy,
        task: Task,
        reward: Mapping[str, RewardModel],
        executor: Executor | None = None,
    ) -> None:
        self.config = config
        self.policy = policy
        self.task = task
        self.executor = executor
        self.rewards = reward
        self._done = 0

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Sample, then measure."""
        c = self.config
        problems = list(self.task.problems(c.split))[: c.problems]
        if not problems:
            raise RunError(f"there is nothing to assess on: the task's split '{c.split}' holds no problems")
        samplings = -(-len(problems) // c.per_step)
        total = samplings + 1 + len(self.rewards)
        rollouts = [r for step in range(min(self._done, samplings)) for r in _read(_file(context.directory, step))]
        while self._done < samplings:
            new = rollouts_of(
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
            if world().main:
                _write(_file(context.directory, self._done), new)
            rollouts += new
            self._done += 1
            yield StageStep(self._done, total, describe_rollouts(new), checkpoint=True)
        name, seed = context.name_of(self.policy), c.seed or 0
        if self._done == samplings:
            policy = assess_policy(rollouts, name=name, seed=seed)
            self._done += 1
            metrics = {f"pass_at_{of.k}": of.value for of in policy.pass_at_k}
            record = policy.model_dump(mode="json")
            yield StageStep(self._done, total, metrics, row=record, table="policies", checkpoint=True)
        if self._done == total:
            return
        labels = step_labels(self.task, rollouts)
        for reward_name in list(self.rewards)[self._done - samplings - 1 :]:
            reward = assess_reward(
                self.rewards[reward_name], rollouts, labels=labels, name=reward_name, policy=name, seed=seed
            )
            first = self._done == samplings + 1
            self._done += 1
            values = {"auc": reward.auc, "step_auc": reward.step_auc, "selected": reward.selected, "ece": reward.ece}
            yield StageStep(
                self._done,
                total,
                {key: value for key, value in values.items() if value is not None},
                row=reward.model_dump(mode="json"),
                table="rewards",
                checkpoint=True,
                findings=(_no_oracle(type(self.task).__name__),) if first and labels is None else (),
            )

    def state(self) -> State:
        """Return the steps done."""
        return State(values={"done": self._done})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._done = int(state.values["done"])  # type: ignore[arg-type]


def _no_oracle(task: str) -> Finding:
    return Finding(
        "step-oracle", f"the task '{task}' has no step oracle: the AUC of steps is left out for every reward"
    )


def _file(directory: Path, step: int) -> Path:
    return directory / f"rollouts-{step + 1}.json"


def _write(path: Path, rollouts: list[Rollout]) -> None:
    write_atomic(path, json.dumps([rollout_to_json(rollout) for rollout in rollouts], ensure_ascii=False) + "\n")


def _read(path: Path) -> list[Rollout]:
    return [rollout_from_json(record) for record in json.loads(path.read_text(encoding="utf-8"))]
