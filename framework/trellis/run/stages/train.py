"""The stage `train`: runs a policy optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from trellis.contracts import (
    Finding,
    LearnedReward,
    PolicyOptimizer,
    RewardModel,
    Stage,
    StageContext,
    StageStep,
    State,
    Task,
    TrainablePolicy,
)
from trellis.distributed import world
from trellis.errors import CollapseError
from trellis.run.stages.config import TrainConfig
from trellis.run.watch import Watch
from trellis.types import JSON


class Train(Stage):
    """Trains a policy, and the reward that the optimizer updates beside it."""

    Config = TrainConfig

    def __init__(
        self,
        config: TrainConfig,
        *,
        optimizer: PolicyOptimizer,
        policy: TrainablePolicy,
        task: Task,
        reward: RewardModel | None = None,
    ) -> None:
        self.config = config
        self.optimizer = optimizer
        self.policy = policy
        self.task = task
        self.reward = reward
        self._watch: Watch | None = None
        self._watched: JSON = None
        optimizer.check(task=task, reward=reward)

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Yield a step per optimizer step; with `watch: stop` end after a checkpoint of the step that went wrong."""
        total = self.optimizer.num_steps
        if world().size > 1:
            from trellis.nn import same_everywhere

            same_everywhere(self.policy.module)
        watch = self._begin(context)
        for done in self.optimizer.train(
            policy=self.policy, task=self.task, reward=self.reward, seed=self.config.seed or 0
        ):
            findings = tuple(watch.see(done.metrics)) if watch else ()
            # At its end a stage is saved in any case, and there is nothing left to stop.
            stop = bool(findings) and self.config.watch == "stop" and done.step < total
            yield StageStep(
                done.step,
                total,
                done.metrics,
                done.rollouts,
                checkpoint=stop or done.step % self.config.checkpoint_every == 0,
                findings=findings,
            )
            if stop:
                raise _stopped(context, done.step, findings)

    def changes(self) -> Sequence[object]:
        """Return the policy, and the reward if it learns."""
        return [self.policy, self.reward] if isinstance(self.reward, LearnedReward) else [self.policy]

    def _begin(self, context: StageContext) -> Watch | None:
        """Return the watch, in the state that was restored; None where nobody watches."""
        if self.config.watch == "off":
            return None
        roles = {"optimizer": self.optimizer, "reward": self.reward}
        # That a component keeps its settings as `config` is a habit and no rule.
        parts = {
            role: (context.name_of(part), getattr(part, "config", None))
            for role, part in roles.items()
            if part is not None
        }
        self._watch = Watch(self.config.thresholds, parts=parts)
        if self._watched is not None:
            self._watch.restore(self._watched)
        return self._watch

    def state(self) -> State:
        """Return the optimizer's state, and what the watch has seen."""
        state = self.optimizer.state()
        watched = self._watch.state() if self._watch else self._watched
        return State(state.tensors, {"optimizer": state.values, "watch": watched})

    def restore(self, state: State) -> None:
        """Restore the optimizer and the watch."""
        self.optimizer.restore(State(state.tensors, cast("Mapping[str, JSON]", state.values["optimizer"])))
        self._watched = state.values["watch"]


def _stopped(context: StageContext, step: int, findings: Sequence[Finding]) -> CollapseError:
    said = "; ".join(finding.message for finding in findings)
    return CollapseError(
        f"training was stopped after step {step}, as `watch: stop` asks: {said}. The step is saved: --resume goes on from it, "
        "with the same settings or with others (--set; only what stands under a `with` may differ)",
        stage_step=step,
        detectors=[finding.kind for finding in findings],
    )
