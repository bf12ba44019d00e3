"""The stage `train`: runs a policy optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trellis.contracts import (
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
from trellis.run.stages.config import TrainConfig


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
        optimizer.check(task=task, reward=reward)

    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Yield a step per optimizer step."""
        total = self.optimizer.num_steps
        for done in self.optimizer.train(
            policy=self.policy, task=self.task, reward=self.reward, seed=self.config.seed or 0
        ):
            yield StageStep(
                done.step, total, done.metrics, done.rollouts, checkpoint=done.step % self.config.checkpoint_every == 0
            )

    def changes(self) -> Sequence[object]:
        """Return the policy, and the reward if it learns."""
        return [self.policy, self.reward] if isinstance(self.reward, LearnedReward) else [self.policy]

    def state(self) -> State:
        """Return the optimizer's state."""
        return self.optimizer.state()

    def restore(self, state: State) -> None:
        """Restore the optimizer."""
        self.optimizer.restore(state)
