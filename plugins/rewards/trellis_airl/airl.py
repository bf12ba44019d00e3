"""The AIRL reward: learns what the expert's steps have that the policy's lack.

AIRL-S (https://arxiv.org/abs/2508.14313) trains it beside the policy, from correct traces only, pays RL with it, and
lets the same reward steer search. `trellis_airl.discriminator` has the equations.

Deliberate deviations: the default form parametrises the logit (policy-skip), because a scalar head for f has to cancel
log π of whole steps and collapses; the trunk starts from the policy's weights and the head from zero; hard negatives are
ours (`trellis_airl.hard_negatives`).

Shape suffixes: B trajectories, S steps.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from trellis import Rollout, Task, TrainablePolicy, Trajectory
from trellis.distributed import spread
from trellis.errors import CapabilityError
from trellis.fitting.reward import NetworkReward, Objective
from trellis.nn import StepWords, TokenBatch, sharded, within
from trellis.records import rollout_from_json, rollout_to_json
from trellis_airl.config import AIRLConfig
from trellis_airl.discriminator import TRAINS_ON_LOG_PI, Discriminator, Judged, discriminator, loss
from trellis_airl.hard_negatives import HardNegatives


class _Example(NamedTuple):
    """A trajectory, and on which sides of the discriminator it stands.

    Attributes:
        trajectory: Its steps.
        expert: Whether it is an expert's.
        negative: Whether it is to be told from the experts'. The policy's own correct rollouts are both.
        degree: How much of an expert it is; in the mean over a problem's graded rollouts 1.
        age: The training step it was sampled at; None of what was not sampled.
        first: Steps before this one say nothing, being the expert's and the negative's alike.
    """

    trajectory: Trajectory
    expert: bool
    negative: bool
    age: int | None = None
    first: int = 0
    degree: float = 1.0


class AIRL(NetworkReward[Discriminator]):
    """A discriminator between expert steps and the policy's own, read as a reward."""

    Config = AIRLConfig

    def __init__(
        self,
        config: AIRLConfig,
        *,
        policy: TrainablePolicy,
        task: Task | None = None,
        experts: Task | None = None,
        trunk: TrainablePolicy | None = None,
    ) -> None:
        super().__init__(config, policy=policy, trunk=trunk)
        self.config = config
        self.experts = experts
        self._given: dict[str, list[Trajectory]] | None = None
        self._replay: list[Rollout] = []
        self._hard: HardNegatives | None = None
        self._lacked = ""
        if experts is not None and config.experts != "traces":
            mend = "set `experts: traces`, or leave the need `experts` out."
            raise CapabilityError(
                "airl", capability=f"use for given experts with `experts: {config.experts}`", mend=mend
            )
        self._task = task
        if config.reads == "words" and task is None:
            mend = "give the reward one (`needs: {task: NAME}`), or leave `reads: words` out."
            raise CapabilityError("airl", capability="task that says its steps' words", mend=mend)
        if config.hard_negatives.share > 0:
            if task is None:
                mend = "give the reward one that knows its legal steps (`needs: {task: NAME}`), or leave `hard_negatives` out."
                raise CapabilityError("airl", capability="task to make hard negatives of", mend=mend)
            self._hard = HardNegatives(config.hard_negatives, task=task, policy=policy)

    def make_net(self) -> Discriminator:
        """Return the discriminator of the configured form."""
        c, words = self.config, None
        if c.reads == "words" and self._task is not None:
            words = StepWords(self._task.step_words)
        return discriminator(c.form, self.trunk.module, gamma=c.gamma, budget=self.trunk.budget, words=words)

    def objective(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Objective[Discriminator] | None:
        """Return the discriminator's loss: experts against the policy's rollouts and hard negatives.

        Experts are `traces` (or those of the collaborator `experts`), or with `experts: rollouts` those of `rollouts` that
        are correct.
        """
        c = self.config
        rng = np.random.default_rng([self.seed, self.num_done])
        examples = self._examples(traces, self._with_replay(rollouts, rng), rng)
        self._lacked = "" if c.experts == "graded" or any(e.negative for e in examples) else "negatives"
        if self._lacked or not any(e.expert for e in examples):
            return None
        trajectories = [example.trajectory for example in examples]
        if TRAINS_ON_LOG_PI[c.form]:
            # Expert traces, and rollouts of an earlier policy, are scored anew: log π is the live policy's.
            trajectories = spread(self.policy.log_probs, trajectories)
        batch = self.batch(trajectories)
        log_pi_BS = _log_pi(batch)
        counts_BS = batch.step_mask_BS & self._after_first(examples, batch)
        expert_BS, negative_BS = (w[:, None] * counts_BS for w in self._weights(examples, batch.ids_BT.device))
        if not bool((expert_BS > 0).any()) or not bool((negative_BS > 0).any()):
            self._lacked = "differences"
            return None

        def evaluate(net: Discriminator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            logit_BS = Judged(*sharded(net, batch, log_pi_BS)).logit_BS
            bce = loss(
                logit_BS, expert_weight=expert_BS, negative_weight=negative_BS, label_smoothing=c.label_smoothing
            )
            expert, policy = logit_BS[expert_BS > 0], logit_BS[negative_BS > 0]
            return bce, {
                "expert_logit": expert.mean(),
                "policy_logit": policy.mean(),
                "expert_accuracy": (expert > 0).float().mean(),
                "policy_accuracy": (policy <= 0).float().mean(),
            }

        return evaluate

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return f, l or g of each step, for search."""
        c = self.config
        values: list[list[float]] = []
        for batch, log_pi_BS, judged in self._judge(trajectories):
            score_BS = {"f": judged.f_BS, "l": judged.logit_BS, "g": judged.g_BS}[c.search_score]
            if c.search_score == "f" and c.form == "policy-skip":
                span_BS = log_pi_BS.cumsum(1) if c.log_pi_span == "prefix" else log_pi_BS
                score_BS = judged.logit_BS + c.log_pi_weight * span_BS
            values += batch.per_step(score_BS)
        return values

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return what RL is paid for each step, clipped."""
        c = self.config
        values: list[list[float]] = []
        for batch, _, judged in self._judge(trajectories):
            paid_BS = {"f": judged.f_BS, "g": judged.g_BS}.get(c.rl_reward, judged.logit_BS)
            if c.rl_reward == "softplus":
                paid_BS = torch.nn.functional.softplus(judged.logit_BS)
            values += batch.per_step(paid_BS.clamp(-c.reward_clip, c.reward_clip))
        return values

    @property
    def why_skipped(self) -> str:
        """Say what was missing."""
        if self._lacked == "negatives":
            return (
                "every rollout was correct, and `negatives: wrong` tells experts from wrong ones only. Set `negatives: all`, "
                "or take harder problems"
            )
        if self._lacked == "differences":
            return "experts and rollouts were alike throughout. Leave `mask_shared_prefix` out, or take harder problems"
        if self.config.experts == "graded":
            return (
                "no problem had two rollouts with a measured gain. Take a workload of queries, fit with `experience: true`, and "
                "draw batches by problem (`batch_by: problem`)"
            )
        if self.config.experts == "traces":
            whose = "the task" if self.experts is None else "the task of its experts"
            return (
                f"{whose} had no trace for the problems of the rollouts. Use a task that has traces, or set "
                "`experts: rollouts`"
            )
        return (
            "no rollout was correct, and `experts: rollouts` takes its experts from those. Let the policy solve some "
            "problems first (train it longer on traces), or set `experts: traces`"
        )

    def memory(self) -> Mapping[str, Any]:
        """Return the replayed rollouts and the hard negatives made."""
        hard = self._hard.memory() if self._hard else []
        return {"replay": [rollout_to_json(rollout) for rollout in self._replay], "hard_negatives": hard}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take what `memory` returned."""
        self._replay = [rollout_from_json(record) for record in memory.get("replay", ())]
        if self._hard:
            self._hard.remember(memory.get("hard_negatives", ()))

    def _with_replay(self, rollouts: Sequence[Rollout], rng: np.random.Generator) -> list[Rollout]:
        """Add as many earlier rollouts as there are new ones, and keep the new ones for later."""
        if not self.config.replay:
            return list(rollouts)
        count = min(len(rollouts), len(self._replay))
        drawn = [self._replay[i] for i in rng.choice(len(self._replay), size=count, replace=False)] if count else []
        self._replay = [*self._replay, *rollouts][-self.config.replay :]
        return [*rollouts, *drawn]

    def _examples(
        self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout], rng: np.random.Generator
    ) -> list[_Example]:
        c = self.config
        if c.experts == "graded":
            return _graded(rollouts, temperature=c.grade_temperature)
        if c.experts == "traces":
            experts = [*traces] if self.experts is None else self._given_for(self.experts, rollouts)
        else:
            experts = [rollout.trajectory for rollout in rollouts if rollout.outcome.correct]
        if len(experts) > len(rollouts) and c.experts == "traces":
            # Tasks may have many traces a problem: the two sides need not differ in size.
            experts = [experts[i] for i in sorted(rng.choice(len(experts), size=len(rollouts), replace=False))]
        places = [i for i, rollout in enumerate(rollouts) if c.negatives == "all" or not rollout.outcome.correct]
        hard = self._hard_negatives(experts, len(places), rng)
        if hard:
            keep = max(0, len(places) - len(hard))
            places = [places[i] for i in sorted(rng.choice(len(places), size=keep, replace=False))]
        negative, own = set(places), c.experts == "rollouts"
        # A correct rollout goes through the network once, on both sides of the loss where it stands on both.
        examples = [
            _Example(rollout.trajectory, own and rollout.outcome.correct, i in negative, age=rollout.step)
            for i, rollout in enumerate(rollouts)
            if i in negative or (own and rollout.outcome.correct)
        ]
        if not own:
            examples += [_Example(trace, True, False) for trace in experts]
        if c.mask_shared_prefix:
            examples = _first_differences(examples)
        return examples + hard

    def _hard_negatives(
        self, experts: Sequence[Trajectory], num_negatives: int, rng: np.random.Generator
    ) -> list[_Example]:
        if self._hard is None or not experts:
            return []
        count = min(len(experts), round(self.config.hard_negatives.share * num_negatives))
        chosen = [experts[i] for i in sorted(rng.choice(len(experts), size=count, replace=False))]
        made = self._hard.of(chosen, update=self.num_done // self.config.updates_per_round, seed=self.seed)
        return [_Example(negative.trajectory, False, True, first=negative.num_shared) for negative in made]

    def _given_for(self, experts: Task, rollouts: Sequence[Rollout]) -> list[Trajectory]:
        """Return the experts' traces for the rollouts' problems, found by the problem's text."""
        if self._given is None:
            self._given = defaultdict(list)
            for trace in experts.traces("train"):
                self._given[trace.problem.text].append(trace)
        asked = {rollout.trajectory.problem.id: rollout.trajectory for rollout in rollouts}
        return [
            replace(trace, problem=one.problem, prompt=one.prompt)
            for one in asked.values()
            for trace in self._given.get(one.problem.text, ())
        ]

    def _after_first(self, examples: Sequence[_Example], batch: TokenBatch) -> torch.Tensor:
        first_B = torch.tensor([example.first for example in examples])
        steps_S = torch.arange(batch.step_mask_BS.shape[1])
        return (steps_S >= first_B[:, None]).to(batch.step_mask_BS.device)

    def _weights(self, examples: Sequence[_Example], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each example's weight among the experts and among the negatives, of shape (B,)."""

        def group(example: _Example) -> object:
            return example.trajectory.problem.id if self.config.match == "problem" else example.age

        negative_B = torch.tensor([float(example.negative) for example in examples], device=device)
        expert_B = torch.tensor([example.degree * example.expert for example in examples], device=device)
        if self.config.match != "none":
            theirs = Counter(group(example) for example in examples if example.expert)
            others = Counter(group(example) for example in examples if example.negative)
            shares = [others[group(e)] / theirs[group(e)] if e.expert else 0.0 for e in examples]
            # Where no group has both (traces have no age) there is nothing to match.
            if any(shares):
                expert_B = torch.tensor(shares, device=device)
                negative_B = negative_B * torch.tensor([float(theirs[group(e)] > 0) for e in examples], device=device)
        return expert_B, negative_B

    @torch.no_grad()
    def _judge(self, trajectories: Sequence[Trajectory]) -> list[tuple[TokenBatch, torch.Tensor, Judged]]:
        """Judge trajectories in chunks, in order."""
        net = self.net
        batches = [(batch, _log_pi(batch)) for batch in self.batches(self.policy.with_log_probs(trajectories))]
        return within(
            self.trunk.budget, lambda: [(batch, log_pi_BS, net(batch, log_pi_BS)) for batch, log_pi_BS in batches]
        )


def _graded(rollouts: Sequence[Rollout], *, temperature: float) -> list[_Example]:
    """Make every measured rollout an expert of degree exp(gain / T), 1 in the mean over its problem, and a negative.

    With experts distributed as q(τ) exp(gain / T) / Z and negatives as q(τ), whatever wrote them, the best logit is
    log(expert / negative) = gain / T - log Z: maximum-entropy inverse reinforcement learning (Ziebart et al. 2008) with the
    measured gain as what the expert wants. At a prefix it is the soft mean over what follows, the value that search needs.
    A problem with one rollout tells nothing.
    """
    groups: defaultdict[str, list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        if rollout.outcome.gain is not None:
            groups[rollout.trajectory.problem.id].append(rollout)
    examples = []
    for group in groups.values():
        gains = np.array([rollout.outcome.gain for rollout in group])
        degrees = np.exp((gains - gains.max()) / temperature)
        degrees *= len(group) / degrees.sum()
        if len(group) > 1:
            examples += [
                _Example(r.trajectory, True, True, age=r.step, degree=float(degree))
                for r, degree in zip(group, degrees, strict=True)
            ]
    return examples


def _first_differences(examples: Sequence[_Example]) -> list[_Example]:
    """Let each side begin to count where it first differs from every example of the other side and the same problem.

    An example that stands on both sides counts from its start.
    """
    by_problem: defaultdict[str, list[_Example]] = defaultdict(list)
    for example in examples:
        by_problem[example.trajectory.problem.id].append(example)

    def shared(example: _Example) -> int:
        if example.expert and example.negative:
            return 0
        others = (
            other
            for other in by_problem[example.trajectory.problem.id]
            if other.expert != example.expert or other.negative != example.negative
        )
        return max((_num_shared(example.trajectory, other.trajectory) for other in others), default=0)

    return [example._replace(first=shared(example)) for example in examples]


def _num_shared(one: Trajectory, other: Trajectory) -> int:
    count = 0
    for a, b in zip(one.steps, other.steps, strict=False):
        if a.text != b.text:
            break
        count += 1
    return count


def _log_pi(batch: TokenBatch) -> torch.Tensor:
    values = np.zeros(batch.step_mask_BS.shape, dtype=np.float32)
    for row, trajectory in enumerate(batch.trajectories):
        values[row, : len(trajectory.steps)] = [step.log_prob for step in trajectory.steps]
    return torch.from_numpy(values).to(batch.ids_BT.device)
