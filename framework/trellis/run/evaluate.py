"""Measure policies, searches and rewards against each other on the same problems."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from trellis.contracts import Policy, RewardModel, SearchAlgorithm, Task
from trellis.distributed import spread, world
from trellis.errors import CapabilityError, RunError
from trellis.run.elsewhere import searched
from trellis.run.results import Row, wilson_interval
from trellis.search import SearchReport, TreeWriter, run_searches
from trellis.types import Budget, Problem, Split


class Searcher(Protocol):
    """Runs searches somewhere else than in this process."""

    def __call__(
        self, problems: Sequence[Problem], *, search: str, reward: str | None, settings: Mapping[str, Any]
    ) -> Iterable[tuple[SearchReport, str | None]]:
        """Return a report for each problem, in order, and its tree as a line of JSON where trees are wanted.

        Args:
            problems: What to solve.
            search: The search's name.
            reward: The reward's name; None for a search that needs none.
            settings: Of `run_searches`, by argument.
        """


def evaluate(
    *,
    policy: Policy,
    task: Task,
    searches: Mapping[str, SearchAlgorithm],
    rewards: Mapping[str, RewardModel] | None = None,
    split: Split = "test",
    num_problems: int | None = None,
    budget: Budget | None = None,
    max_tokens: int = 256,
    max_steps: int = 64,
    batch_problems: int = 256,
    seed: int = 0,
    policy_name: str = "policy",
    trees: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    searcher: Searcher | None = None,
) -> Iterator[Row]:
    """Yield a row per search, and for searches that need a reward one per reward.

    Every row sees the same problems, seed and budget, so that rows can be compared problem by problem. Several processes
    share them (`trellis.distributed`).

    Args:
        policy: What samples.
        task: Whose problems.
        searches: By name.
        rewards: By name; needed where a search needs one.
        split: Which problems.
        num_problems: How many, from the first; all of the split by default.
        budget: What a search may spend on one problem.
        max_tokens: At most so many tokens per completion.
        max_steps: A trajectory of so many steps that is not finished is cut.
        batch_problems: How many problems are searched at once.
        seed: Of the samples.
        policy_name: What the rows call the policy.
        trees: A directory for the search trees, one file a row; a file of that name is replaced.
        progress: Called with the problems done and the number of problems, within each row.
        searcher: Runs the searches, where that is not this process; it knows components by the names given here.

    Raises:
        CapabilityError: A search needs a reward and there is none.
        RunError: The split holds no problems.
    """
    rewards = rewards or {}
    check_rewards(searches, rewards)
    problems = list(task.problems(split))[:num_problems]
    if not problems:
        raise RunError(f"there is nothing to evaluate on: the task's split '{split}' holds no problems")
    for search_name, search in searches.items():
        for reward_name, reward in rewards.items() if search.needs_reward else [(None, None)]:
            name = "-".join(part for part in (policy_name, search_name, reward_name) if part)
            trace = trees / f"{name}.jsonl" if trees else None
            writer = TreeWriter(trace) if trace and world().main else None
            if writer:
                # What a run that was killed here left of this row is in the way.
                writer.path.unlink(missing_ok=True)
            settings: dict[str, Any] = {
                "budget": budget or Budget(),
                "max_tokens": max_tokens,
                "max_steps": max_steps,
                "batch_problems": batch_problems,
                "seed": seed,
            }
            started = time.perf_counter()
            parts: dict[str, Any] = {"search": search, "policy": policy, "task": task, "reward": reward}
            if searcher is not None:
                found = searcher(problems, search=search_name, reward=reward_name, settings=settings)
                reports = _written(found, writer)
            elif world().size > 1:
                share = partial(searched, **parts, settings=settings, trees=trace is not None)
                reports = _written(spread(share, problems), writer)
            else:
                reports = list(run_searches(problems, **parts, **settings, progress=progress, trace=writer))
            correct = sum(report.outcome.correct for report in reports)
            yield Row(
                policy=policy_name,
                search=search_name,
                reward=reward_name,
                aggregate=search.aggregate,
                accuracy=correct / len(reports),
                ci95=wilson_interval(correct, len(reports)),
                problems=len(reports),
                tokens_per_problem=sum(report.num_tokens for report in reports) / len(reports),
                seconds=time.perf_counter() - started,
            )


def _written(found: Iterable[tuple[SearchReport, str | None]], writer: TreeWriter | None) -> list[SearchReport]:
    """Write the trees that came with the reports, and return the reports."""
    reports = []
    for report, line in found:
        reports.append(report)
        if writer and line is not None:
            writer.append(line)
    return reports


def num_rows(searches: Mapping[str, SearchAlgorithm], rewards: Mapping[str, RewardModel]) -> int:
    """Return how many rows `evaluate` yields."""
    return sum(len(rewards) if search.needs_reward else 1 for search in searches.values())


def check_rewards(searches: Mapping[str, SearchAlgorithm], rewards: Mapping[str, RewardModel]) -> None:
    """Raise CapabilityError if a search needs a reward and there is none."""
    for name, search in searches.items():
        if search.needs_reward and not rewards:
            raise CapabilityError(
                name, capability="reward to search by", mend="name one under the stage's needs.reward."
            )
