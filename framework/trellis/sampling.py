"""Completions as trajectories: sampled as the policy likes, or of a task's legal steps alone.

Of a *constrained* task (`Task.constrained`) every step is sampled among the task's legal ones, so that each rollout of whatever
policy is legal to its end. Each step notes what it was sampled among (`Step.choices`), and whoever computes its log-probability
later does so under the same mask: importance ratios, log π of experts and of rollouts are of one distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trellis.contracts.policy import Policy
from trellis.contracts.task import Task
from trellis.distributed import spread
from trellis.seeds import derived_seed
from trellis.types import Rollout, SampleRequest, Step, Trajectory


def sample_trajectories(policy: Policy, task: Task, requests: Sequence[SampleRequest]) -> list[list[Trajectory]]:
    """Answer requests with `n` trajectories each: their prefixes, and what was sampled after them.

    Args:
        policy: What samples; of a constrained task it needs the capability "choices".
        task: Cuts completions into steps, and knows which are legal.
        requests: What is to be continued. Of a constrained task one that has a `stop` is continued by one step.

    Returns:
        By request, in order. Of a constrained task a trajectory is cut where its tokens run out, and where no step is legal.

    Raises:
        CapabilityError: The task is constrained and the policy takes no choices.
    """
    if not task.constrained:
        answers = policy.sample(requests) if requests else []
        return [[task.extend(r.prefix, c) for c in row] for r, row in zip(requests, answers, strict=True)]
    return _legal(policy, task, requests)


def judged_rollouts(policy: Policy, task: Task, requests: Sequence[SampleRequest], *, step: int) -> list[list[Rollout]]:
    """Answer requests with `n` rollouts each, judged by the task; several processes share the requests.

    Args:
        policy: As `sample_trajectories` takes it.
        task: Judges, too.
        requests: Of which each is answered by itself.
        step: What the rollouts note as the step at which they were sampled.

    Raises:
        CapabilityError: As `sample_trajectories`.
    """

    def judged(requests: Sequence[SampleRequest]) -> list[list[Rollout]]:
        return [
            [Rollout(trajectory, task.verify(trajectory), step=step) for trajectory in row]
            for row in sample_trajectories(policy, task, requests)
        ]

    return spread(judged, requests)


@dataclass(slots=True)
class _Growing:
    """One trajectory being written, and what is left of its tokens."""

    request: SampleRequest
    index: int
    trajectory: Trajectory
    tokens_left: int


def _legal(policy: Policy, task: Task, requests: Sequence[SampleRequest]) -> list[list[Trajectory]]:
    rows = [
        [_Growing(request, index, request.prefix, request.max_tokens) for index in range(request.n)]
        for request in requests
    ]
    growing = [one for row in rows for one in row if one.trajectory.open]
    while growing:
        legal = {id(one): tuple(task.legal_steps(one.trajectory)) for one in growing}
        for one in growing:
            if not legal[id(one)] or one.tokens_left < 1:
                one.trajectory = replace(one.trajectory, cut=True)
        growing = [one for one in growing if one.trajectory.open]
        asked = [
            SampleRequest(
                one.trajectory,
                max_tokens=one.tokens_left,
                temperature=one.request.temperature,
                seed=derived_seed(one.request.seed, one.index, len(one.trajectory.steps), num_bytes=6),
                choices=legal[id(one)],
            )
            for one in growing
        ]
        for one, (completion,) in zip(growing, policy.sample(asked) if asked else [], strict=True):
            one.tokens_left -= len(completion.token_ids)
            step = Step(completion.text, completion.token_ids, completion.log_probs, legal[id(one)])
            ended = completion.finish == "end" or not completion.text.endswith(task.separator)
            one.trajectory = replace(
                one.trajectory,
                steps=(*one.trajectory.steps, step),
                finished=ended and completion.finish != "length",
                cut=completion.finish == "length",
            )
        growing = [one for one in growing if one.trajectory.open and one.request.stop is None]
    whole_ones = [one for row in rows for one in row if one.trajectory.finished and not one.request.prefix.finished]
    for one, whole in zip(whole_ones, policy.log_probs([_unended(one.trajectory) for one in whole_ones]), strict=True):
        one.trajectory = replace(whole, answer=task.answer(whole))
    return [[one.trajectory for one in row] for row in rows]


def _unended(trajectory: Trajectory) -> Trajectory:
    """Take the tokens from the last step: encoded anew it ends with the end-of-sequence token, as a given trace does.

    Else a reward would tell the policy's steps from an expert's by that token alone.
    """
    last = trajectory.steps[-1]
    return replace(trajectory, steps=(*trajectory.steps[:-1], Step(last.text, choices=last.choices)))
