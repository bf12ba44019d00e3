"""Sampling and searching by an executor: in other processes, or on other machines.

What travels is no component but a recipe for it: the run directory, whose `resolved.yaml` says how it is built, and the
checkpoints that hold what it has learned. A worker builds it once and keeps it. So every worker must see the run directory
under the same path, as it must have the same plugins installed; environment variables that the pipeline names, too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from trellis.contracts import Executor, Policy, Recipe, RewardModel, SearchAlgorithm, StageContext, Task
from trellis.distributed import main_only
from trellis.errors import RunDirectoryError
from trellis.run.build import build_components
from trellis.run.sampling import sample_rollouts
from trellis.search import SearchReport, TreeLines, run_searches
from trellis.spec import load_pipeline
from trellis.types import Problem, Rollout

Value = TypeVar("Value")

_RETRIES = 1
"""A worker may be lost with its machine: what it had is given to another one, once."""


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """Components of a run, in a state that the run has saved. Implements `trellis.contracts.Recipe`.

    Attributes:
        directory: The run directory.
        names: The components' names in its pipeline.
        checkpoints: Where what was learned lies, by component; one that is not there is as it was built.
    """

    directory: Path
    names: tuple[str, ...]
    checkpoints: tuple[tuple[str, Path], ...] = ()

    def __call__(self) -> Mapping[str, Any]:
        """Return the components by name, those that they need included; built once in a process.

        Raises:
            RunDirectoryError: This machine does not see the run directory.
        """
        if self not in _held:
            # Before, not after: there may be no room for two policies.
            _held.clear()
            _held[self] = _built(self)
        return _held[self]


_held: dict[RunRecipe, Mapping[str, Any]] = {}


def _built(recipe: RunRecipe) -> Mapping[str, Any]:
    for path in (recipe.directory / "resolved.yaml", *(path for _, path in recipe.checkpoints)):
        if not path.exists():
            raise RunDirectoryError(
                f"there is no {path} on {socket.gethostname()}: --out must name a directory that every worker sees under the "
                "same path",
                path=path,
            )
    components = build_components(load_pipeline(recipe.directory / "resolved.yaml"), names=recipe.names)
    for name, path in recipe.checkpoints:
        if name in components:
            components[name].load(path)
    return components


def search_elsewhere(
    problems: Sequence[Problem],
    *,
    executor: Executor,
    recipe: Recipe,
    names: Mapping[str, str],
    settings: Mapping[str, Any],
    trees: bool,
    problems_per_item: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[SearchReport, str | None]]:
    """Search for a solution of each problem, and return the reports in the order of the problems, with their trees.

    Args:
        problems: What to solve.
        executor: What spreads them.
        recipe: Of the components.
        names: The names of the "search", the "policy", the "task" and, where one is needed, the "reward".
        settings: Of `run_searches`, by argument: the budget, the limits, the seed.
        trees: Whether a line of JSON comes with every report.
        problems_per_item: Problems that a worker is given at a time.
        progress: Called with the problems done and the number of problems.

    Raises:
        Exception: What a worker raised, with its traceback in a note.
    """
    work = partial(_search, recipe=recipe, names=dict(names), settings=dict(settings), trees=trees)
    return _everything(work, problems, executor=executor, size=problems_per_item, progress=progress)


def rollouts_of(
    problems: Sequence[Problem],
    context: StageContext,
    *,
    policy: Policy,
    task: Task,
    executor: Executor | None,
    n: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    step: int,
    problems_per_item: int,
) -> list[Rollout]:
    """Return `n` rollouts of each problem as `sample_rollouts` does, sampled and judged by an executor where there is one.

    Args:
        problems: What is to be solved.
        context: Knows how the components are built.
        policy: What samples.
        task: Judges.
        executor: What spreads the problems.
        n: Rollouts per problem.
        temperature: Of the samples.
        max_tokens: At most so many tokens per rollout.
        seed: Fixes the samples.
        step: What the rollouts note as the step at which they were sampled.
        problems_per_item: Problems that a worker is given at a time.

    Raises:
        Exception: What a worker raised, with its traceback in a note.
    """
    settings: dict[str, Any] = {
        "n": n,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "seed": seed,
        "step": step,
    }
    if executor is None:
        return sample_rollouts(policy, task, problems, **settings)
    names = (context.name_of(policy), context.name_of(task))
    work = partial(_sample, recipe=context.recipe([policy, task]), names=names, settings=settings)
    return _everything(work, problems, executor=executor, size=problems_per_item)


def _everything(
    work: Callable[[Sequence[Problem], int], list[Value]],
    problems: Sequence[Problem],
    *,
    executor: Executor,
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Value]:
    def spread() -> list[Value]:
        items = [problems[first : first + size] for first in range(0, len(problems), size)]
        done: dict[int, list[Value]] = {}
        for result in executor.map_unordered(work, items, retries=_RETRIES):
            if result.error is not None:
                first, last = items[result.index][0], items[result.index][-1]
                result.error.add_note(f"in a worker of {type(executor).__name__}, problems {first.id} to {last.id}")
                raise result.error
            assert result.value is not None
            done[result.index] = result.value
            if progress:
                progress(sum(len(items[index]) for index in done), len(problems))
        return [value for index in range(len(items)) for value in done[index]]

    return main_only(spread)


def _search(
    problems: Sequence[Problem],
    seed: int,
    *,
    recipe: Recipe,
    names: Mapping[str, str],
    settings: Mapping[str, Any],
    trees: bool,
) -> list[tuple[SearchReport, str | None]]:
    components = recipe()
    parts = {argument: components[name] for argument, name in names.items()}
    return searched(problems, **parts, settings=settings, trees=trees)


def searched(
    problems: Sequence[Problem],
    *,
    search: SearchAlgorithm,
    policy: Policy,
    task: Task,
    reward: RewardModel | None = None,
    settings: Mapping[str, Any],
    trees: bool,
) -> list[tuple[SearchReport, str | None]]:
    """Return `run_searches`'s reports, each with its tree as a line of JSON, or with None."""
    lines = TreeLines()
    reports = run_searches(
        problems,
        search=search,
        policy=policy,
        task=task,
        reward=reward,
        trace=lines if trees else None,
        **settings,
    )
    return [(report, lines.newest) for report in reports]


def _sample(
    problems: Sequence[Problem], seed: int, *, recipe: Recipe, names: tuple[str, str], settings: Mapping[str, Any]
) -> list[Rollout]:
    components = recipe()
    return sample_rollouts(components[names[0]], components[names[1]], problems, **settings)
