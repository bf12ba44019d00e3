"""Proposals put in order by a reward before any of them runs: what steers search over reasoning, on join decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trellis.contracts import Policy, Proposal, RewardModel, Situation, Task
from trellis.errors import HintError
from trellis.sql.hints import PlanHints
from trellis.types import Trajectory


class RewardRanker:
    """Orders proposals by the reward of their last join decision, the highest first.

    Hints that say no join order are ranked by the order that the planner takes under them. What cannot be written as
    decisions at all comes last, in the proposer's order.

    Args:
        task: The workload: its prompts and names are what the reward was trained on.
        reward: Scores trajectories of the task.
        policy: Whose log-probabilities the reward reads with a trajectory; left out for rewards that read none.
    """

    def __init__(self, task: Task, *, reward: RewardModel, policy: Policy | None = None) -> None:
        self.task = task
        self.reward = reward
        self.policy = policy

    def __call__(self, situation: Situation, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Return the proposals in order."""
        written = [(proposal, self.trajectory(situation, proposal.hints)) for proposal in proposals]
        trajectories = [trajectory for _, trajectory in written if trajectory is not None]
        if not trajectories:
            return list(proposals)
        read = trajectories if self.policy is None else self.policy.log_probs(trajectories)
        scores = iter(self.reward.score(read))
        scored = [(next(scores)[-1] if trajectory is not None else None, proposal) for proposal, trajectory in written]
        ranked = sorted((one for one in scored if one[0] is not None), key=lambda one: -(one[0] or 0.0))
        return [replace(proposal, score=score) for score, proposal in ranked] + [
            proposal for score, proposal in scored if score is None
        ]

    def trajectory(self, situation: Situation, hints: PlanHints) -> Trajectory | None:
        """Return hints as a finished trajectory of the task; None where they cannot be written as decisions."""
        try:
            found: Trajectory | None = self.task.trajectory(situation.problem, hints)  # type: ignore[attr-defined]
        except HintError:
            return None
        return found
