"""Rollouts of a policy as it is: sampled, cut into steps, judged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trellis.contracts import Policy, Task
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

    A problem's rollouts depend on `seed` and the problem alone, not on the others.

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
    requests = [
        SampleRequest(
            prefix, n=n, max_tokens=max_tokens, temperature=temperature, seed=_derive(seed, prefix.problem.id)
        )
        for prefix in prefixes
    ]
    trajectories = [
        task.extend(prefix, completion)
        for prefix, completions in zip(prefixes, policy.sample(requests), strict=True)
        for completion in completions
    ]
    return [Rollout(trajectory, task.verify(trajectory), step=step) for trajectory in trajectories]


def describe_rollouts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the share of correct and of finished rollouts, and their mean numbers of tokens and steps."""
    trajectories = [rollout.trajectory for rollout in rollouts]
    return {
        "accuracy": sum(rollout.outcome.correct for rollout in rollouts) / len(rollouts),
        "tokens": sum(trajectory.num_tokens for trajectory in trajectories) / len(rollouts),
        "steps": sum(len(trajectory.steps) for trajectory in trajectories) / len(rollouts),
        "finished": sum(trajectory.finished for trajectory in trajectories) / len(rollouts),
    }


def _derive(seed: int, problem: str) -> int:
    """Return a seed of 32 bits, the same in every process; not that of a search's first call."""
    text = f"rollouts\0{seed}\0{problem}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
