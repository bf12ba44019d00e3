"""Optimizers with one fault each."""

import itertools
import math
from dataclasses import replace

import torch
from faults import breaks

from trellis import Config, PolicyOptimizer, State, TrainStep
from trellis.testing.material.episodes import rollouts, traces_for

PROCESS = frozenset({"process-reward", "traces"})


class SupervisedConfig(Config):
    steps: int = 4
    """How many."""
    learning_rate: float = 0.05
    """Of gradient descent with momentum."""


class Supervised(PolicyOptimizer):
    """Imitates traces, each weighted by a reward learned on the way. Nothing is wrong with this one."""

    Config = SupervisedConfig

    def __init__(self, config):
        self.config, self.done, self.momentum = config, 0, {}

    @property
    def num_steps(self):
        return self.config.steps

    def train(self, *, policy, task, reward=None, seed=0):
        while self.done < self.config.steps:
            found = rollouts(task, policy, seed=seed + 100 * self.done)
            traces = traces_for(task, found)
            reward.update(traces, found)
            weights = torch.tensor([1.0 + sum(row) for row in reward.score(traces)])
            loss = -(policy.token_log_probs(policy.batch(traces)).sum(1) * weights).mean()
            policy.module.zero_grad()
            loss.backward()
            for name, parameter in policy.module.named_parameters():
                self.momentum[name] = 0.9 * self.momentum.get(name, 0) + parameter.grad
                parameter.data -= self.config.learning_rate * self.momentum[name]
            self.done += 1
            yield TrainStep(self.done, {"loss": loss.item()}, tuple(found))

    def state(self):
        return State(dict(self.momentum), {"done": self.done})

    def restore(self, state):
        self.momentum, self.done = dict(state.tensors), state.values["done"]


@breaks("steps-are-counted", "optimizer", capabilities=PROCESS)
class CountsFromZero(Supervised):
    def train(self, **arguments):
        for step in super().train(**arguments):
            yield replace(step, step=step.step - 1)


@breaks("steps-are-counted", "optimizer", capabilities=PROCESS)
class OneStepTooFew(Supervised):
    @property
    def num_steps(self):
        return self.config.steps + 1


@breaks("metrics-are-finite", "optimizer", capabilities=PROCESS)
class NaNLoss(Supervised):
    def train(self, **arguments):
        for step in super().train(**arguments):
            yield replace(step, metrics={"loss": math.nan})


@breaks("training-changes-the-policy", "optimizer", capabilities=PROCESS, given={"learning_rate": 0.0})
class StandsStill(Supervised):
    pass


@breaks("training-follows-the-seed", "optimizer", capabilities=PROCESS)
class TakesAnotherSeedEachTime(Supervised):
    seeds = itertools.cycle([0, 10_007])

    def train(self, *, seed=0, **arguments):
        return super().train(seed=next(self.seeds), **arguments)


@breaks("training-goes-on-where-it-stopped", "optimizer", capabilities=PROCESS)
class ForgetsItsMomentum(Supervised):
    def state(self):
        return State(values={"done": self.done})


@breaks("state-is-tensors-and-json", "optimizer", capabilities=PROCESS)
class KeepsASet(Supervised):
    def state(self):
        return State(dict(self.momentum), {"done": self.done, "seen": {1, 2}})
