"""Rewards with one fault each."""

import copy
import math

import torch
from faults import LEARNED, TRAINABLE, breaks
from safetensors.torch import load_file, save_file

from trellis import Config, LearnedReward, Need, RewardModel
from trellis.errors import CheckpointError, NotFittedError
from trellis.testing.material import Counts

POLICY = {"policy": Need("policy", capabilities=TRAINABLE)}


class LengthConfig(Config):
    per_character: float = -0.01
    """What a character is worth."""


class Length(RewardModel):
    """Nothing is wrong with this one."""

    Config = LengthConfig

    def __init__(self, config):
        self.config = config

    def score(self, trajectories):
        return [[self.config.per_character * len(step.text) for step in t.steps] for t in trajectories]


@breaks("scores-do-not-depend-on-the-batch", "reward", needs={"parts": Need("reward", many=True)})
class CentredSum(RewardModel):
    """Its parts are worth 0 until they have learned something: then there is nothing to centre, and no fault to see."""

    Config = LengthConfig

    def __init__(self, config, *, parts):
        self.parts = parts

    def score(self, trajectories):
        scores = [part.score(trajectories) for part in self.parts.values()]
        sums = [[sum(step) for step in zip(*rows, strict=True)] for rows in zip(*scores, strict=True)]
        values = [value for row in sums for value in row]
        centre = sum(values) / len(values) if len(trajectories) > 1 else 0.0
        return [[value - centre for value in row] for row in sums]


class HeadConfig(Config):
    learning_rate: float = 0.01
    """Of the optimizer."""


class Head(LearnedReward):
    """A copy of the policy's module with a scalar head, trained to tell traces from rollouts. Nothing is wrong."""

    Config = HeadConfig

    def __init__(self, config, *, policy):
        self.config, self.policy = config, policy
        self.fitted = False
        self.reset(0)

    def reset(self, seed):
        self.fitted = False
        self.body = copy.deepcopy(self.policy.module)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = torch.nn.Linear(16, 1)
        self.parameters = [*self.body.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.config.learning_rate)

    def logits(self, trajectories):
        batch = self.policy.batch(trajectories)
        out = self.body(batch.ids_BT, batch.attention_BT, output_hidden_states=True)
        values_BT = self.head(out.hidden_states[-1])[..., 0]
        return batch, values_BT.gather(1, batch.last_BS)

    @torch.no_grad()
    def score(self, trajectories):
        if not self.fitted:
            raise NotFittedError("update it first")
        if not trajectories:
            return []
        batch, logits_BS = self.logits(trajectories)
        return batch.per_step(logits_BS)

    def update(self, traces, rollouts):
        losses = []
        for trajectories, label in ((traces, 1.0), ([r.trajectory for r in rollouts], 0.0)):
            batch, logits_BS = self.logits(trajectories)
            chosen = logits_BS[batch.step_mask_BS]
            losses.append(torch.nn.functional.binary_cross_entropy_with_logits(chosen, torch.full_like(chosen, label)))
        loss = sum(losses)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.fitted = True
        return {"loss": loss.item()}

    def moments(self):
        state = self.optimizer.state_dict()["state"]
        return {f"moment.{key}.{name}": value for key, all_ in state.items() for name, value in all_.items()}

    def save(self, directory):
        weights = {f"weight.{index}": parameter.detach() for index, parameter in enumerate(self.parameters)}
        save_file(weights | self.moments(), directory / "head.safetensors")

    def load(self, directory):
        path = directory / "head.safetensors"
        if not path.exists():
            raise CheckpointError("missing", path=path)
        state, adam = load_file(path), self.optimizer.state_dict()
        adam["state"] = {}
        for key, value in state.items():
            word, index, *name = key.split(".")
            if word == "weight":
                self.parameters[int(index)].data.copy_(value)
            else:
                adam["state"].setdefault(int(index), {})[name[0]] = value
        self.optimizer.load_state_dict(adam)
        self.fitted = True


@breaks("every-step-has-a-finite-score", "reward")
class PaysInfinity(Length):
    def reward(self, trajectories):
        return [[-math.inf for _ in t.steps] for t in trajectories]


@breaks("every-step-has-a-finite-score", "reward")
class OnePerTrajectory(Length):
    def reward(self, trajectories):
        return [[float(len(t.text))] for t in trajectories]


@breaks("scores-do-not-depend-on-the-batch", "reward")
class CountsItsNeighbours(Length):
    def score(self, trajectories):
        return [[value + index for value in row] for index, row in enumerate(super().score(trajectories))]


@breaks("scores-do-not-look-ahead", "reward")
class KnowsTheEnd(Length):
    def score(self, trajectories):
        return [[row[-1] for _ in row] for row in super().score(trajectories)]


@breaks("nothing-to-score-gives-nothing", "reward")
class NeedsSomething(Length):
    def score(self, trajectories):
        assert max(len(t.steps) for t in trajectories) >= 0
        return super().score(trajectories)


@breaks("scoring-leaves-its-input-alone", "reward")
class SortsItsInput(Length):
    def score(self, trajectories):
        scores = super().score(trajectories)
        trajectories.reverse()
        return scores


@breaks("scoring-twice-gives-the-same", "reward")
class Drifts(Length):
    calls = 0

    def score(self, trajectories):
        self.calls += 1
        return [[value + 1e-6 * self.calls for value in row] for row in super().score(trajectories)]


@breaks("unfitted-says-so", "reward", capabilities=LEARNED)
class UnfittedCrashes(Counts):
    def score(self, trajectories):
        if not self.in_traces:
            raise AttributeError("no network")
        return super().score(trajectories)


@breaks("update-reports-finite-metrics", "reward", capabilities=LEARNED)
class NaNMetric(Counts):
    def update(self, traces, rollouts):
        return {**super().update(traces, rollouts), "loss": math.nan}


@breaks("update-changes-the-scores", "reward", capabilities=LEARNED)
class LearnsNothing(Counts):
    def update(self, traces, rollouts):
        return {"loss": 0.0}


@breaks("update-leaves-the-policy-alone", "reward", capabilities=LEARNED, needs=POLICY)
class FreezesThePolicy(Head):
    def update(self, traces, rollouts):
        metrics = super().update(traces, rollouts)
        self.policy.module.requires_grad_(False)
        return metrics

    def reset(self, seed):
        self.policy.module.requires_grad_(True)
        super().reset(seed)


@breaks("update-leaves-the-policy-alone", "reward", capabilities=LEARNED, needs=POLICY)
class LeavesAGradient(Head):
    def update(self, traces, rollouts):
        self.policy.token_log_probs(self.policy.batch(traces)).sum().backward()
        return super().update(traces, rollouts)


@breaks("reward-survives-save-and-load", "reward", capabilities=LEARNED)
class SavesHalfItsCounts(Counts):
    def save(self, directory):
        kept, self.in_rollouts = self.in_rollouts, type(self.in_rollouts)()
        super().save(directory)
        self.in_rollouts = kept


@breaks("learning-goes-on-after-load", "reward", capabilities=LEARNED, needs=POLICY)
class ForgetsItsMoments(Head):
    def moments(self):
        return {}


@breaks("reset-forgets-everything", "reward", capabilities=LEARNED)
class RemembersTraces(Counts):
    def reset(self, seed):
        self.in_rollouts.clear()


@breaks("reward-refuses-a-missing-checkpoint", "reward", capabilities=LEARNED)
class LoadsNoCounts(Counts):
    def load(self, directory):
        if (directory / "counts.json").exists():
            super().load(directory)
