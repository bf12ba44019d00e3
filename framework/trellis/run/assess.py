"""Measure a policy and rewards on one set of rollouts, without any search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from trellis.contracts import RewardModel, Task
from trellis.distributed import spread
from trellis.errors import CapabilityError
from trellis.run.measures import (
    held_out_calibration,
    paired_bootstrap,
    pass_at_k,
    spearman,
    step_auc,
    within_problem_auc,
)
from trellis.run.results import PassAtK, PolicyRow, RewardRow
from trellis.types import Rollout


def assess_policy(rollouts: Sequence[Rollout], *, name: str = "policy", seed: int = 0) -> PolicyRow:
    """Return pass@k of a policy, for k = 1, 2, 4, … up to the rollouts per problem.

    Args:
        rollouts: Equally many of each problem.
        name: What the row calls the policy.
        seed: Of the bootstrap over problems that gives the intervals.
    """
    groups = list(_by_problem(rollouts).values())
    n = min(map(len, groups))
    counts = [(len(group), sum(rollouts[i].outcome.correct for i in group)) for group in groups]
    ks = [*dict.fromkeys([*(2**i for i in range(n.bit_length())), n])]
    passes = []
    for k in ks:
        values = [pass_at_k(size, correct, k) for size, correct in counts]
        found = paired_bootstrap(values, [0.0] * len(values), seed=seed)
        passes.append(PassAtK(k=k, value=float(np.mean(values)), ci95=(max(0.0, found.low), min(1.0, found.high))))
    return PolicyRow(
        policy=name,
        problems=len(groups),
        rollouts=len(rollouts),
        accuracy=sum(rollout.outcome.correct for rollout in rollouts) / len(rollouts),
        pass_at_k=tuple(passes),
        tokens_per_rollout=sum(rollout.trajectory.num_tokens for rollout in rollouts) / len(rollouts),
    )


def step_labels(task: Task, rollouts: Sequence[Rollout]) -> list[list[bool]] | None:
    """Return what the task's step oracle says of each step of each rollout; None where it has no oracle."""
    try:
        return [task.step_oracle(rollout.trajectory) for rollout in rollouts]
    except CapabilityError:
        return None


def assess_reward(
    reward: RewardModel,
    rollouts: Sequence[Rollout],
    *,
    labels: Sequence[Sequence[bool]] | None = None,
    name: str = "reward",
    policy: str = "policy",
    seed: int = 0,
) -> RewardRow:
    """Return how well a reward tells good rollouts and good steps from others.

    A rollout without steps cannot be scored and is left out of all but `selected`.

    Args:
        reward: What scores.
        rollouts: Several of each problem.
        labels: What the step oracle says of each step of each rollout, from `step_labels`.
        name: What the row calls the reward.
        policy: What it calls the policy that sampled.
        seed: Of the halves for calibration, and of the bootstrap.
    """
    kept = [i for i, rollout in enumerate(rollouts) if rollout.trajectory.steps]
    scored = [rollouts[i] for i in kept]
    rows = spread(reward.score, [rollout.trajectory for rollout in scored])
    last = [row[-1] for row in rows]
    correct = [rollout.outcome.correct for rollout in scored]
    steps = None if labels is None else step_auc(scored, rows, [labels[i] for i in kept])
    calibration = held_out_calibration(last, correct, [r.trajectory.problem.id for r in scored], seed=seed)
    selected, mean = _select(rollouts, dict(zip(kept, last, strict=True)))
    gain = paired_bootstrap(selected, mean, seed=seed)
    return RewardRow(
        reward=name,
        policy=policy,
        problems=len(selected),
        rollouts=len(rollouts),
        auc=within_problem_auc(scored, last),
        spearman=spearman(last, [rollout.outcome.score for rollout in scored]),
        step_auc=steps.pooled if steps else None,
        step_auc_within=steps.within_problem if steps else None,
        ece=calibration.ece if calibration else None,
        brier=calibration.brier if calibration else None,
        selected=float(np.mean(selected)),
        gain=gain.difference,
        gain_ci95=(gain.low, gain.high),
    )


def _select(rollouts: Sequence[Rollout], last: dict[int, float]) -> tuple[list[float], list[float]]:
    """Return for each problem whether the finished rollout of the highest score is correct, and the share that is."""
    selected, mean = [], []
    for group in _by_problem(rollouts).values():
        finished = [i for i in group if i in last and rollouts[i].trajectory.finished]
        best = max(finished, key=lambda i: (last[i], rollouts[i].trajectory.log_prob), default=None)
        selected.append(float(best is not None and rollouts[best].outcome.correct))
        mean.append(sum(rollouts[i].outcome.correct for i in group) / len(group))
    return selected, mean


def _by_problem(rollouts: Sequence[Rollout]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for place, rollout in enumerate(rollouts):
        groups[rollout.trajectory.problem.id].append(place)
    return groups
