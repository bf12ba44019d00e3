"""Rejection-sampling fine-tuning: sample, keep what is correct, and maximise its likelihood; in rounds.

RFT (Yuan et al. 2023, https://arxiv.org/abs/2308.01825) samples once and adds the correct samples to the given traces;
ReST-EM (Singh et al. 2023, https://arxiv.org/abs/2312.06585) repeats it: each round samples the policy of the round
before (E-step) and trains the weights of the start on what was correct (M-step). With `include_traces` and one round it
is the first, with `from_start` and without traces the second.

Deviations, each deliberate:
- Two rollouts are the same when their texts are; the RFT paper compares lists of equations. Of a problem's rollouts the
  first `keep_per_problem` distinct ones are kept, not those furthest apart. One that repeats a trace trained on anyway is
  not kept.
- A round is a number of steps; ReST-EM stops a round by its validation loss.

A round's rollouts are sampled in its first step and yielded with it. What was kept of them is part of the state until the
round ends: later weights would not sample the same again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trellis import (
    PolicyOptimizer,
    Problem,
    RewardModel,
    Rollout,
    SampleRequest,
    State,
    Step,
    Task,
    TrainablePolicy,
    TrainStep,
    Trajectory,
)
from trellis.errors import CapabilityError, NothingSolvedError, RunError
from trellis.nn import fork, is_split, load_optimizer_tensors, optimizer_tensors, own_tensors
from trellis.sampling import judged_rollouts
from trellis.types import JSON
from trellis_sft.config import RFTConfig
from trellis_sft.likelihood import drawn_batch, likelihood_step, new_adamw


class RFT(PolicyOptimizer):
    """Rejection-sampling fine-tuning with AdamW."""

    Config = RFTConfig

    def __init__(self, config: RFTConfig) -> None:
        self.config = config
        self._done = 0
        self._adamw: torch.optim.AdamW | None = None
        self._start: dict[str, torch.Tensor] = {}
        self._kept: list[Trajectory] = []
        self._restored: State | None = None

    @property
    def num_steps(self) -> int:
        """How many steps `train` yields in all."""
        return self.config.rounds * self.config.steps_per_round

    def check(self, *, task: Task, reward: RewardModel | None) -> None:
        """Raise CapabilityError if there is nothing to sample, or no trace to include."""
        if not task.problems("train"):
            raise CapabilityError(type(task).__name__, capability="problems to train on", mend="rft needs some.")
        if self.config.include_traces and not task.traces("train"):
            raise CapabilityError(type(task).__name__, capability="traces", mend="set rft's `include_traces` to false.")

    def train(
        self, *, policy: TrainablePolicy, task: Task, reward: RewardModel | None = None, seed: int = 0
    ) -> Iterator[TrainStep]:
        """Train on rollouts of the problems of the split "train"; a reward is not used.

        Raises:
            NothingSolvedError: No rollout of a round is correct.
        """
        c = self.config
        self.check(task=task, reward=reward)
        problems = task.problems("train")
        traces = task.traces("train") if c.include_traces else ()
        self._begin(policy, task)
        while self._done < self.num_steps:
            number, step = divmod(self._done, c.steps_per_round)
            metrics: dict[str, float] = {"round": number + 1}
            rollouts: list[Rollout] = []
            if step == 0:
                rollouts = self._sample(policy, task, problems, np.random.default_rng([seed, number, 0]))
                self._kept = distinct_correct(rollouts, limit=c.keep_per_problem, known=traces)
                metrics |= _describe(rollouts, num_kept=len(self._kept))
                if c.from_start and number > 0:
                    policy.module.load_state_dict(self._start, strict=False)
                self._adamw = new_adamw(policy, c)
            assert self._adamw is not None
            metrics |= likelihood_step(
                policy,
                self._adamw,
                drawn_batch([*self._kept, *traces], size=c.batch_size, step=step, key=[seed, number, 1]),
                config=c,
                step=step,
                num_steps=c.steps_per_round,
                seed=seed,
                num_done=self._done,
            )
            self._done += 1
            if self._done % c.steps_per_round == 0:
                self._kept, self._adamw = [], None
            yield TrainStep(self._done, metrics, tuple(rollouts))

    def _begin(self, policy: TrainablePolicy, task: Task) -> None:
        """Start a training, or take up the one that was restored."""
        if self.config.from_start and is_split(policy.module):
            mend = "set rft's `from_start` to false, or leave the policy's `shard` out."
            raise CapabilityError("a policy with `shard: true`", capability="first weights to go back to", mend=mend)
        restored, self._restored = self._restored, None
        self._done, self._kept, self._adamw, self._start = 0, [], None, {}
        if restored is None:
            if self.config.from_start:
                self._start = own_tensors(fork(policy.module), beside=policy.module)
            return
        self._done = int(restored.values["done"])  # type: ignore[arg-type]
        self._kept = _from_json(restored.values["kept"], task)
        self._start = {k[6:]: v for k, v in restored.tensors.items() if k.startswith("start.")}
        if self.config.from_start and not self._start:
            raise RunError("the run was begun with `from_start: false`, and its first weights are gone: leave it so")
        if self._done % self.config.steps_per_round and not self._kept:
            raise RunError(
                f"step {self._done} was the end of a round, and is in the middle of one with `steps_per_round: "
                f"{self.config.steps_per_round}`: resume with the value the run was begun with"
            )
        if self._done % self.config.steps_per_round:
            self._adamw = new_adamw(policy, self.config)
            moments = {k[6:]: v for k, v in restored.tensors.items() if k.startswith("adamw.")}
            load_optimizer_tensors(self._adamw, moments)

    def _sample(
        self, policy: TrainablePolicy, task: Task, problems: Sequence[Problem], rng: np.random.Generator
    ) -> list[Rollout]:
        """Sample and judge `samples_per_problem` rollouts of each of a round's problems, those of a problem in a row."""
        c = self.config
        count = min(c.problems_per_round or len(problems), len(problems))
        prefixes = [task.start(problems[i]) for i in rng.choice(len(problems), size=count, replace=False)]
        requests = [
            SampleRequest(
                prefix, n=c.samples_per_problem, max_tokens=c.max_tokens, temperature=c.temperature, seed=int(s)
            )
            for prefix, s in zip(prefixes, rng.integers(2**62, size=count), strict=True)
        ]
        groups = judged_rollouts(policy, task, requests, step=self._done)
        rollouts = [rollout for group in groups for rollout in group]
        sampled = [rollout.trajectory for rollout in rollouts]
        if not any(rollout.outcome.correct for rollout in rollouts):
            raise NothingSolvedError(
                "rft",
                step=self._done + 1,
                num_rollouts=len(rollouts),
                num_problems=count,
                num_cut=sum(t.cut for t in sampled),
                reason=Counter(rollout.outcome.reason for rollout in rollouts).most_common(1)[0][0],
            )
        return rollouts

    def state(self) -> State:
        """Return the steps done, AdamW's moments, what the round trains on, and the weights at the stage's start."""
        if self._restored is not None:
            return self._restored
        tensors = {f"adamw.{k}": v for k, v in optimizer_tensors(self._adamw).items()} if self._adamw else {}
        tensors |= {f"start.{name}": value for name, value in self._start.items()}
        return State(tensors, {"done": self._done, "kept": _to_json(self._kept)})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._restored = state


def distinct_correct(rollouts: Sequence[Rollout], *, limit: int, known: Sequence[Trajectory] = ()) -> list[Trajectory]:
    """Return the first `limit` correct trajectories of each problem, each text once and none that is among `known`."""
    seen = {(trace.problem.id, trace.text) for trace in known}
    count: Counter[str] = Counter()
    kept = []
    for rollout in rollouts:
        trajectory = rollout.trajectory
        key = (trajectory.problem.id, trajectory.text)
        if rollout.outcome.correct and key not in seen and count[trajectory.problem.id] < limit:
            seen.add(key)
            count[trajectory.problem.id] += 1
            kept.append(trajectory)
    return kept


def _to_json(trajectories: Sequence[Trajectory]) -> list[JSON]:
    return [
        {"problem": t.problem.id, "answer": t.answer, "steps": [[step.text, list(step.token_ids)] for step in t.steps]}
        for t in trajectories
    ]


def _from_json(entries: Any, task: Task) -> list[Trajectory]:
    """Make trajectories anew, with the tokens they were sampled as; training asks for no more of them."""
    problems = {problem.id: problem for problem in task.problems("train")} if entries else {}
    trajectories = []
    for entry in entries:
        root = task.start(problems[entry["problem"]])
        steps = tuple(Step(text, tuple(ids)) for text, ids in entry["steps"])
        kept = Trajectory(root.problem, root.prompt, steps, finished=True, answer=entry["answer"])
        trajectories.append(task.constrain(kept))
    return trajectories


def _describe(rollouts: Sequence[Rollout], *, num_kept: int) -> Mapping[str, float]:
    trajectories = [rollout.trajectory for rollout in rollouts]
    problems = {t.problem.id for t in trajectories}
    solved = {rollout.trajectory.problem.id for rollout in rollouts if rollout.outcome.correct}
    return {
        "accuracy": float(np.mean([rollout.outcome.correct for rollout in rollouts])),
        "solved": len(solved) / len(problems),
        "kept": float(num_kept),
        "tokens": float(np.mean([t.num_tokens for t in trajectories])),
        "steps": float(np.mean([len(t.steps) for t in trajectories])),
        "finished": float(np.mean([t.finished for t in trajectories])),
        "max_tokens_share": float(np.mean([t.cut for t in trajectories])),
    }
