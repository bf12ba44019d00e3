"""The AIRL reward: learns what the expert's steps have that the policy's lack.

AIRL-S (https://arxiv.org/abs/2508.14313) trains it beside the policy, from correct traces only, pays RL with it, and
lets the same reward steer search. `trellis_airl.discriminator` has the equations.

Deliberate deviations: the default form parametrises the logit (policy-skip), because a scalar head for f has to cancel
log π of whole steps and collapses; the trunk starts from the policy's weights and the head from zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trellis import LearnedReward, Rollout, TrainablePolicy, Trajectory
from trellis.errors import CheckpointError, NotFittedError
from trellis.nn import TokenBatch, guarded_step, learning_rate, load_optimizer_tensors, optimizer_tensors, seeded
from trellis_airl.config import AIRLConfig
from trellis_airl.discriminator import Discriminator, Judged, loss


class _Learner(NamedTuple):
    """The discriminator and what trains it."""

    net: Discriminator
    adamw: torch.optim.AdamW


class AIRL(LearnedReward):
    """A discriminator between expert steps and the policy's own, read as a reward."""

    Config = AIRLConfig

    def __init__(self, config: AIRLConfig, *, policy: TrainablePolicy) -> None:
        self.config = config
        self.policy = policy
        self._learner: _Learner | None = None
        self._done = 0
        self._skipped = 0
        self._num_updates: int | None = None
        self._seed = policy.seed

    def update(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Mapping[str, float]:
        """Make `updates_per_round` gradient steps: experts against the policy's rollouts.

        Experts are `traces`, or with `experts: rollouts` those of `rollouts` that are correct. A batch without any is left
        out and says so in its metrics: `skipped` is 1.
        """
        c = self.config
        own = [rollout for rollout in rollouts if rollout.trajectory.steps]
        correct = torch.tensor([rollout.outcome.correct for rollout in own], dtype=torch.bool)
        if not own or not (traces if c.experts == "traces" else correct.any()):
            self._skipped += 1
            return {"skipped": 1.0}
        learner = self._begin()
        given = list(traces) if c.experts == "traces" else []
        batch, log_pi_BS = self._encode([*given, *(rollout.trajectory for rollout in own)])
        is_given = torch.arange(len(batch.trajectories)) < len(given)
        is_expert = is_given if given else correct
        expert_mask_BS = batch.step_mask_BS & is_expert.to(batch.step_mask_BS.device)[:, None]
        policy_mask_BS = batch.step_mask_BS & ~is_given.to(batch.step_mask_BS.device)[:, None]
        learner.net.train()
        for _ in range(c.updates_per_round):
            with seeded(self._seed, self._done):
                logit_BS = learner.net(batch, log_pi_BS).logit_BS
            expert, policy = logit_BS[expert_mask_BS], logit_BS[policy_mask_BS]
            bce = loss(expert, policy, label_smoothing=c.label_smoothing)
            norm = guarded_step(
                learner.adamw,
                bce,
                lr=self._learning_rate(),
                max_grad_norm=c.max_grad_norm,
                step=self._done + 1,
                problems=list(dict.fromkeys(rollout.trajectory.problem.id for rollout in own)),
            )
            self._done += 1
        learner.net.eval()
        return {
            "loss": bce.item(),
            "grad_norm": norm,
            "expert_logit": expert.mean().item(),
            "policy_logit": policy.mean().item(),
            "expert_accuracy": (expert > 0).float().mean().item(),
            "policy_accuracy": (policy <= 0).float().mean().item(),
            "skipped": 0.0,
        }

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return f (or l) of each step, for search."""
        c = self.config
        values: list[list[float]] = []
        for batch, log_pi_BS, judged in self._judge(trajectories):
            score_BS = judged.logit_BS if c.search_score == "l" else judged.f_BS
            if c.search_score == "f" and c.form == "policy-skip":
                span_BS = log_pi_BS.cumsum(1) if c.log_pi_span == "prefix" else log_pi_BS
                score_BS = judged.logit_BS + c.log_pi_weight * span_BS
            values += batch.per_step(score_BS)
        return values

    def reward(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """Return the logit l = f - log π of each step, clipped: what RL is paid."""
        clip = self.config.reward_clip
        return [
            row
            for batch, _, judged in self._judge(trajectories)
            for row in batch.per_step(judged.logit_BS.clamp(-clip, clip))
        ]

    def reset(self, *, seed: int, num_updates: int | None = None) -> None:
        """Forget everything; the next update copies the policy's present weights. Dropout alone is drawn at random."""
        self._learner, self._done, self._skipped = None, 0, 0
        self._num_updates, self._seed = num_updates, seed

    def save(self, directory: Path) -> None:
        """Write the discriminator, AdamW's moments and the number of updates made."""
        tensors: dict[str, torch.Tensor] = {}
        if self._learner is not None:
            tensors |= {f"net.{k}": v.clone() for k, v in self._learner.net.state_dict().items()}
            tensors |= {f"adamw.{k}": v for k, v in optimizer_tensors(self._learner.adamw).items()}
        values = {"done": str(self._done), "num_updates": str(self._num_updates or 0), "seed": str(self._seed)}
        save_file({k: v.contiguous() for k, v in tensors.items()}, directory / "airl.safetensors", metadata=values)

    def load(self, directory: Path) -> None:
        """Take what `save` wrote."""
        path = directory / "airl.safetensors"
        try:
            tensors = load_file(path)
            done, num_updates, seed = (int(_metadata(path)[key]) for key in ("done", "num_updates", "seed"))
            self._learner = None
            if tensors:
                learner = self._begin()
                learner.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
                load_optimizer_tensors(learner.adamw, {k[6:]: v for k, v in tensors.items() if k.startswith("adamw.")})
        except KeyError as error:
            raise CheckpointError(f"{path} does not fit this reward: it has no {error}", path=path) from error
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{path} does not fit this reward: {error}", path=path) from error
        self._done, self._num_updates, self._seed = done, num_updates or None, seed

    def _begin(self) -> _Learner:
        """Return the learner, made from the policy's present weights when there is none yet."""
        if self._learner is None:
            c = self.config
            device = next(self.policy.module.parameters()).device
            net = Discriminator(self.policy.module, form=c.form, gamma=c.gamma).to(device).eval()
            parameters = [p for name, p in net.named_parameters()]
            self._learner = _Learner(
                net, torch.optim.AdamW(parameters, lr=c.learning_rate, weight_decay=c.weight_decay)
            )
        return self._learner

    def _why_not_fitted(self) -> str:
        if self._skipped and self.config.experts == "traces":
            return (
                f"the airl reward has not learned anything: the task had no trace for the problems of its {self._skipped} "
                "updates. Use a task that has traces, or set `experts: rollouts`"
            )
        if self._skipped:
            return (
                f"the airl reward has not learned anything: no rollout in its {self._skipped} updates was correct, and "
                "`experts: rollouts` takes its experts from those. Let the policy solve some problems first (train it "
                "longer on traces), or set `experts: traces`"
            )
        return (
            "the airl reward has not learned anything yet: run a `train` stage whose optimizer updates it, or a "
            "`fit-reward` stage, before it is used"
        )

    def _learning_rate(self) -> float:
        c = self.config
        return learning_rate(
            self._done,
            (self._num_updates or 1) * c.updates_per_round,
            peak=c.learning_rate,
            final=c.learning_rate * c.final_fraction,
            schedule="linear" if self._num_updates else "constant",
        )

    def _encode(self, trajectories: Sequence[Trajectory]) -> tuple[TokenBatch, torch.Tensor]:
        """Encode trajectories, and log π of their steps under the live policy, of shape (B, S).

        Steps just sampled carry it. Others (expert traces, rollouts of an earlier policy in training) are scored anew;
        the policy-skip form needs log π in search only, so there training leaves it out.
        """
        if self.config.form != "policy-skip":
            trajectories = self.policy.log_probs(trajectories)
        batch = self.policy.batch(trajectories)
        return batch, _log_pi(batch)

    @torch.no_grad()
    def _judge(self, trajectories: Sequence[Trajectory]) -> list[tuple[TokenBatch, torch.Tensor, Judged]]:
        """Judge trajectories in chunks, in order."""
        if self._learner is None:
            raise NotFittedError(self._why_not_fitted())
        scored = self.policy.with_log_probs(trajectories)
        judged = []
        for first in range(0, len(scored), 512):
            batch = self.policy.batch(scored[first : first + 512])
            log_pi_BS = _log_pi(batch)
            judged.append((batch, log_pi_BS, self._learner.net(batch, log_pi_BS)))
        return judged


def _log_pi(batch: TokenBatch) -> torch.Tensor:
    values = np.zeros(batch.step_mask_BS.shape, dtype=np.float32)
    for row, trajectory in enumerate(batch.trajectories):
        values[row, : len(trajectory.steps)] = [step.log_prob for step in trajectory.steps]
    return torch.from_numpy(values).to(batch.ids_BT.device)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())
