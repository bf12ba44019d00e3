"""The stage `fit-reward`: fits a learned reward anew on the rollouts that earlier stages stored.

The reward that trained beside a moving policy has seen each batch once and is weak; fitted afterwards on all of it, the
same reward steers search well. Fits differ by their batches; the best on held-out problems is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trellis.contracts import LearnedReward, Policy, Stage, StageContext, StageStep, State, Task
from trellis.contracts.task import by_problem
from trellis.errors import RunError
from trellis.run.files import rename_directory
from trellis.run.measures import within_problem_auc
from trellis.run.sampling import draw_batch
from trellis.run.stages.config import FitRewardConfig
from trellis.types import Rollout


class FitReward(Stage):
    """Fits, measures on held-out problems, keeps the best."""

    Config = FitRewardConfig

    def __init__(self, config: FitRewardConfig, *, reward: LearnedReward, policy: Policy, task: Task) -> None:
        self.config = config
        self.reward = reward
        self.policy = policy
        self.task = task
        self._done = 0
        self._best: tuple[int, float] | None = None

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Yield a step per update; the last step of each fit measures it."""
        c = self.config
        rollouts = [] if c.experience and not c.rollouts else list(context.rollouts(c.rollouts))
        if c.experience:
            rollouts += self.task.experience("train")
        if not rollouts and c.experience:
            raise RunError(
                "fit-reward found no experience: the task remembers no attempt at its problems. Let a stage `evolve` with the "
                "task's `journal` run before it"
            )
        if not rollouts:
            raise RunError(
                "fit-reward found no stored rollouts: let a stage `sample`, or a `train` stage that samples (e.g. grpo), run "
                "before it"
            )
        fitting, held_out = self._split(rollouts)
        traces = by_problem(self.task.traces("train"))
        while self._done < c.fits * c.steps:
            fit, step = divmod(self._done, c.steps)
            if step == 0:
                self.reward.reset(seed=(c.seed or 0) + fit, num_updates=c.steps)
            rng = np.random.default_rng([c.seed or 0, fit, step])
            batch = draw_batch(fitting, c.batch_size, by=c.batch_by, rng=rng)
            ids = dict.fromkeys(rollout.trajectory.problem.id for rollout in batch)
            metrics = dict(self.reward.update([t for i in ids for t in traces.get(i, ())], batch))
            self._done += 1
            if step + 1 == c.steps:
                metrics |= self._measure(fit, held_out, context.directory)
            if self._done == c.fits * c.steps and self._best is not None:
                self.reward.load(context.directory / f"fit-{self._best[0]}")
            yield StageStep(
                self._done,
                c.fits * c.steps,
                metrics,
                checkpoint=self._done % c.checkpoint_every == 0 or step + 1 == c.steps,
            )
        # Only now: until the end is saved, a checkpoint may name an earlier fit as the best.
        for left in context.directory.glob("fit-*"):
            if self._best is None or left.name != f"fit-{self._best[0]}":
                shutil.rmtree(left)

    def _split(self, rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[Rollout]]:
        """Hold out a share of the problems, with all their rollouts."""
        ids = sorted({rollout.trajectory.problem.id for rollout in rollouts})
        order = np.random.default_rng([self.config.seed or 0]).permutation(len(ids))
        count = min(max(1, round(self.config.holdout * len(ids))), len(ids) - 1)
        held = {ids[i] for i in order[:count]}
        fitting = [rollout for rollout in rollouts if rollout.trajectory.problem.id not in held]
        return fitting, [rollout for rollout in rollouts if rollout.trajectory.problem.id in held]

    def _measure(self, fit: int, held_out: Sequence[Rollout], directory: Path) -> dict[str, float]:
        """Measure a fit on the held-out problems and keep it if it is the best so far."""
        scored = [rollout for rollout in held_out if rollout.trajectory.steps]
        # Stored rollouts carry log π of the policy that sampled them; search will have the present one's.
        trajectories = self.policy.log_probs([rollout.trajectory for rollout in scored])
        scores = [steps[-1] for steps in self.reward.score(trajectories)]
        auc = within_problem_auc(scored, scores)
        if self._best is None or (auc or 0.0) > self._best[1]:
            self._best = (fit, auc or 0.0)
            temporary, target = directory / f".fit-{fit}.tmp", directory / f"fit-{fit}"
            for left in (temporary, target):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir()
            self.reward.save(temporary)
            rename_directory(temporary, target)
        return {} if auc is None else {"held_out_auc": auc, "best_auc": self._best[1]}

    def changes(self) -> Sequence[object]:
        """Return the reward."""
        return [self.reward]

    def state(self) -> State:
        """Return the updates made and the best fit so far."""
        return State(values={"done": self._done, "best": self._best})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._done = int(state.values["done"])  # type: ignore[arg-type]
        best = state.values["best"]
        self._best = (int(best[0]), float(best[1])) if best else None  # type: ignore[index,arg-type]
