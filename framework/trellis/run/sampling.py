"""Rollouts of a policy as it is: sampled, cut into steps, judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from trellis.contracts import Policy, Task
from trellis.sampling import judged_rollouts
from trellis.seeds import derived_seed
from trellis.types import Problem, Rollout, SampleRequest


def sample_rollouts(
    policy: Policy,
    task: Task,
    problems: Sequence[Problem],
    *,
    n: int,
    temperature: float = 1.0,
    max_tokens: int = 256,
    seed: int = 0,
    step: int = 0,
) -> list[Rollout]:
    """Return `n` rollouts of each problem, those of one problem in a row.

    A problem's rollouts depend on `seed` and the problem alone, not on the others. Several processes share the problems.

    Args:
        policy: What samples.
        task: Judges.
        problems: What is to be solved.
        n: Rollouts per problem.
        temperature: Of the samples.
        max_tokens: At most so many tokens per rollout.
        seed: Fixes the samples.
        step: What the rollouts note as the step at which they were sampled.
    """
    prefixes = [task.start(problem) for problem in problems]
    # "rollouts": else they would be what a search's first call samples.
    seeds = [derived_seed("rollouts", seed, prefix.problem.id) for prefix in prefixes]
    requests = [
        SampleRequest(prefix, n=n, max_tokens=max_tokens, temperature=temperature, seed=own)
        for prefix, own in zip(prefixes, seeds, strict=True)
    ]
    return [rollout for group in judged_rollouts(policy, task, requests, step=step) for rollout in group]


def draw_batch(
    rollouts: Sequence[Rollout],
    size: int,
    *,
    by: Literal["rollout", "problem", "outcome"] = "rollout",
    rng: np.random.Generator,
) -> list[Rollout]:
    """Draw a batch to fit a reward on.

    Args:
        rollouts: What is drawn from.
        size: How many, at most.
        by: "rollout": any. "problem": whole problems with all their rollouts, as many as fit and at least one. "outcome":
            half of them correct and half not, as far as there are; the rarer kind may be drawn more than once.
        rng: Draws.
    """
    size = min(size, len(rollouts))
    if by == "problem":
        return _whole_problems(rollouts, size, rng)
    if by == "outcome":
        kinds = [[r for r in rollouts if r.outcome.correct is correct] for correct in (True, False)]
        if all(kinds):
            halves = zip(kinds, (size // 2, size - size // 2), strict=True)
            return [kind[i] for kind, n in halves for i in rng.choice(len(kind), size=n, replace=len(kind) < n)]
    return [rollouts[i] for i in rng.choice(len(rollouts), size=size, replace=False)]


def _whole_problems(rollouts: Sequence[Rollout], size: int, rng: np.random.Generator) -> list[Rollout]:
    groups: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.trajectory.problem.id, []).append(rollout)
    drawn = [list(groups.values())[i] for i in rng.permutation(len(groups))]
    batch = drawn[0]
    for group in drawn[1:]:
        if len(batch) + len(group) > size:
            break
        batch = batch + group
    return batch


def describe_rollouts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the share of correct and of finished rollouts, and their mean numbers of tokens and steps."""
    trajectories = [rollout.trajectory for rollout in rollouts]
    return {
        "accuracy": sum(rollout.outcome.correct for rollout in rollouts) / len(rollouts),
        "tokens": sum(trajectory.num_tokens for trajectory in trajectories) / len(rollouts),
        "steps": sum(len(trajectory.steps) for trajectory in trajectories) / len(rollouts),
        "finished": sum(trajectory.finished for trajectory in trajectories) / len(rollouts),
    }
