"""An optimizer that trains nothing and reports an entropy that collapses and recovers: a plugin of the tests."""

from trellis import Component, Config, PolicyOptimizer, State, TrainStep, hookimpl


class CollapsingConfig(Config):
    steps: int = 12
    learning_rate: float = 0.1


class Collapsing(PolicyOptimizer):
    Config = CollapsingConfig

    def __init__(self, config):
        self.config = config
        self.done = 0

    @property
    def num_steps(self):
        return self.config.steps

    def train(self, *, policy, task, reward=None, seed=0):
        while self.done < self.config.steps:
            self.done += 1
            yield TrainStep(self.done, {"entropy": 1.0 if self.done <= 4 else 0.01 * self.config.learning_rate})

    def state(self):
        return State(values={"done": self.done})

    def restore(self, state):
        self.done = state.values["done"]


@hookimpl
def trellis_policy_optimizers():
    yield Component("collapsing", "collapses", CollapsingConfig, f"{__name__}:Collapsing")
