"""Trajectories of the kit's own task, for components that look at what a policy wrote."""

from __future__ import annotations

from collections.abc import Sequence

from trellis.contracts import Policy, Task
from trellis.types import Rollout, SampleRequest, Trajectory


def roots(task: Task, count: int = 6) -> list[Trajectory]:
    """Return the empty trajectories of the first problems."""
    return [task.start(problem) for problem in task.problems("train")[:count]]


def rollouts(task: Task, policy: Policy, *, seed: int = 0, count: int = 6, n: int = 2) -> list[Rollout]:
    """Sample `n` completions for each of the first problems, and verify them."""
    requests = [
        SampleRequest(root, n=n, max_tokens=24, seed=seed + index) for index, root in enumerate(roots(task, count))
    ]
    found = []
    for request, completions in zip(requests, policy.sample(requests), strict=True):
        for completion in completions:
            trajectory = task.extend(request.prefix, completion)
            found.append(Rollout(trajectory, task.verify(trajectory)))
    return found


def traces_for(task: Task, rollouts: Sequence[Rollout]) -> list[Trajectory]:
    """Return the traces of the rollouts' problems."""
    wanted = {rollout.trajectory.problem.id for rollout in rollouts}
    return [trace for trace in task.traces("train") if trace.problem.id in wanted]
