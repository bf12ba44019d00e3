"""Answer a person's own problem with a trained run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from trellis.contracts import RewardModel, SearchAlgorithm, Task
from trellis.errors import NotFittedError, RunError, UnknownComponentError, did_you_mean
from trellis.plugins import build
from trellis.run.pipeline import Run
from trellis.run.results import Row
from trellis.run.stages.config import EvaluateConfig
from trellis.search import SearchReport, run_searches
from trellis.spec import StageSpec
from trellis.types import Budget, Trajectory


@dataclass(frozen=True, slots=True)
class Solution:
    """An answer, and what led to it.

    Attributes:
        report: What the search found, and what the verifier says of it.
        policy: The policy's name, with `@stage` if it is not the latest.
        search: The search's name.
        reward: The reward's name; None if there was none to use.
        step_rewards: The reward's score of each step of the best trajectory; empty without reward or answer.
    """

    report: SearchReport
    policy: str
    search: str
    reward: str | None
    step_rewards: tuple[float, ...]


def solve(
    run: Run,
    text: str,
    *,
    search: str | None = None,
    reward: str | None = None,
    weights: str | None = None,
    seed: int = 0,
) -> Solution:
    """Search for a solution of a problem that a person typed.

    Args:
        run: A run whose last evaluate stage says which policy, task and budget to use.
        text: The problem, as the task reads it.
        search: The name of a search in the pipeline, or of any installed one (with its defaults). What measured best
            in the run when left out, and so for `reward` and `weights`.
        reward: The name of a reward in the pipeline.
        weights: The stage after which the policy is taken.
        seed: Of the samples.

    Raises:
        ProblemSyntaxError: The task cannot read the text.
        UnknownComponentError: There is no such search or reward.
        NotFittedError: The search, or the caller, asks for a reward that has not learned anything yet.
        RunError: The pipeline has no evaluate stage, or no such stage has ended.
    """
    stage, best = _best_row(run)
    config = stage.config
    assert isinstance(config, EvaluateConfig)
    task: Task = run.components[str(stage.needs["task"])]
    policy_name = str(stage.needs["policy"])
    policy = run.components[policy_name]
    problem = task.parse(text)

    searches, rewards = _of_kind(run, "search"), _of_kind(run, "reward")
    search_name = search or (best.search if best else _names(stage.needs.get("searches"))[0])
    algorithm = searches[search_name] if search_name in searches else _installed(search_name, searches)
    if reward is not None and reward not in rewards:
        raise UnknownComponentError(reward, kind="reward", choices=[*rewards])
    measured = best.reward if best and search in (None, best.search) else None
    reward_name = reward or measured or next(iter(_names(stage.needs.get("reward"))), None)
    model: RewardModel | None = rewards[reward_name] if reward_name else None

    chosen = weights or (best.policy.partition("@")[2] if best and reward is None and search is None else "")
    if chosen:
        policy.load(_weights(run, policy_name, chosen))

    (report,) = run_searches(
        [problem],
        search=algorithm,
        policy=policy,
        task=task,
        reward=model,
        budget=Budget(**config.budget.model_dump()),
        max_tokens=config.max_tokens,
        max_steps=config.max_steps,
        seed=seed,
    )
    found = report.result.best
    return Solution(
        report=report,
        policy=f"{policy_name}@{chosen}" if chosen else policy_name,
        search=search_name,
        reward=reward_name,
        step_rewards=_step_rewards(model, found, required=reward is not None) if model and found else (),
    )


def _best_row(run: Run) -> tuple[StageSpec, Row | None]:
    """Return the last evaluate stage, and the row that measured best in it if it has run."""
    stages = [stage for stage in run.pipeline.stages if isinstance(stage.config, EvaluateConfig)]
    if not stages:
        raise RunError("the pipeline has no `evaluate` stage: it names the policy, task and searches to solve with")
    results = run.results.stages.get(stages[-1].name)
    rows = results.rows if results else ()
    return stages[-1], max(rows, key=lambda row: row.accuracy, default=None)


def _of_kind(run: Run, kind: str) -> dict[str, Any]:
    specs = run.pipeline.components
    return {name: component for name, component in run.components.items() if specs[name].registered.kind == kind}


def _installed(search: str, known: Iterable[str]) -> SearchAlgorithm:
    """Build a search that the pipeline does not have."""
    try:
        return cast(SearchAlgorithm, build(search, kind="search"))
    except UnknownComponentError as error:
        raise UnknownComponentError(search, kind="search", choices=[*known, *error.choices]) from None


def _weights(run: Run, policy: str, stage: str) -> Path:
    """Return where the policy was last saved when a stage ended."""
    completed = run.directory.progress().completed
    if stage not in completed:
        raise RunError(f"no stage that has ended is named '{stage}'{did_you_mean(stage, completed)}")
    path = run.directory.component_checkpoint(completed[: completed.index(stage) + 1], policy)
    if path is None:
        raise RunError(f"no stage up to '{stage}' trained '{policy}': leave `weights` out, or name a later stage")
    return path


def _step_rewards(model: RewardModel, trajectory: Trajectory, *, required: bool) -> tuple[float, ...]:
    """Return the reward of each step; none, where a reward that nobody asked for has not learned anything yet."""
    try:
        return tuple(model.score([trajectory])[0])
    except NotFittedError:
        if required:
            raise
        return ()


def _names(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
