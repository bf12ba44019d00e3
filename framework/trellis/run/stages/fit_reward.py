"""The stage `fit-reward`: fits a learned reward anew on the rollouts that earlier stages stored.

The reward that trained beside a moving policy has seen each batch once and is weak; fitted afterwards on all of it, the
same reward steers search well. Fits differ by their batches; the best on held-out problems is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from trellis.contracts import LearnedReward, Policy, Stage, StageContext, StageStep, State, Task
from trellis.contracts.task import by_problem
from trellis.distributed import barrier, spread, world
from trellis.errors import RunError
from trellis.run.files import rename_directory
from trellis.run.measures import within_problem_auc
from trellis.run.sampling import draw_batch
from trellis.run.stages.config import FitRewardConfig
from trellis.types import Rollout, Trajectory


class FitReward(Stage):
    """Fits, measures on held-out problems, keeps the best."""

    Config = FitRewardConfig

    def __init__(self, config: FitRewardConfig, *, reward: LearnedReward, policy: Policy, task: Task) -> None:
        self.config = config
        self.reward = reward
        self.policy = policy
        self.task = task
        self._done = 0
        self._best: tuple[int, float | None] | None = None

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
                metrics |= self._measure(fit, held_out, traces, context.directory)
            if self._done == c.fits * c.steps and self._best is not None:
                self.reward.load(context.directory / f"fit-{self._best[0]}")
            yield StageStep(
                self._done,
                c.fits * c.steps,
                metrics,
                checkpoint=self._done % c.checkpoint_every == 0 or step + 1 == c.steps,
            )
        # Only now: until the end is saved, a checkpoint may name an earlier fit as the best.
        for left in context.directory.glob("fit-*") if world().main else ():
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

    def _measure(
        self, fit: int, held_out: Sequence[Rollout], traces: Mapping[str, list[Trajectory]], directory: Path
    ) -> dict[str, float]:
        """Measure a fit on the held-out problems and keep it if it is the best so far."""
        if self.config.keep == "loss":
            known = dict.fromkeys(rollout.trajectory.problem.id for rollout in held_out)
            loss = self.reward.loss([t for i in known for t in traces.get(i, ())], held_out)
            if loss is None and self.config.fits > 1:
                raise RunError(
                    f"fit-reward cannot tell the best of {self.config.fits} fits: the reward {type(self.reward).__name__} has no "
                    "loss on the problems held out. Choose by outcomes (`keep: auc`), or set `fits: 1`"
                )
            quality = None if loss is None else -loss
        else:
            quality = self._auc(held_out)
        if self._best is None or (quality is not None and (self._best[1] is None or quality > self._best[1])):
            self._best = (fit, quality)
            if world().main:
                temporary, target = directory / f".fit-{fit}.tmp", directory / f"fit-{fit}"
                for left in (temporary, target):
                    shutil.rmtree(left, ignore_errors=True)
                temporary.mkdir()
                self.reward.save(temporary)
                rename_directory(temporary, target)
            barrier()
        if quality is None or self._best[1] is None:
            return {}
        sign = -1.0 if self.config.keep == "loss" else 1.0
        return {f"held_out_{self.config.keep}": sign * quality, f"best_{self.config.keep}": sign * self._best[1]}

    def _auc(self, held_out: Sequence[Rollout]) -> float | None:
        scored = [rollout for rollout in held_out if rollout.trajectory.steps]
        # Stored rollouts carry log π of the policy that sampled them; search will have the present one's.
        trajectories = spread(self.policy.log_probs, [rollout.trajectory for rollout in scored])
        scores = [steps[-1] for steps in spread(self.reward.score, trajectories)]
        return within_problem_auc(scored, scores)

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
        self._best = (int(best[0]), best[1]) if best else None  # type: ignore[index,arg-type,assignment]
