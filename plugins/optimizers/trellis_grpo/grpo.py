"""Group relative policy optimization (DeepSeekMath, https://arxiv.org/abs/2402.03300), with step rewards beside outcomes.

One iteration: sample G rollouts of each problem, judge them, let a learned reward learn from them, turn outcomes and
step rewards into advantages, and make `epochs` steps on the clipped surrogate.

Deviations from the paper, each deliberate:
- The loss is the mean over all tokens of the batch (DAPO, https://arxiv.org/abs/2503.14476), not a mean of means.
- No KL by default.
- Outcome and process advantages are normalised each on its own and then summed (normalise, then sum). Outcomes are
  divided by their standard deviation within the group; process rewards are centred within the group and, unless
  `process_scale: std` asks for it, not divided: dividing made a weak reward's noise as loud as a good one's signal.

Shape suffixes: B rollouts, T tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from trellis import (
    LearnedReward,
    PolicyOptimizer,
    RewardModel,
    Rollout,
    SampleRequest,
    State,
    Task,
    TrainablePolicy,
    TrainStep,
    Trajectory,
)
from trellis.contracts.task import by_problem
from trellis.errors import CapabilityError
from trellis.nn import (
    TokenBatch,
    guarded_step,
    learning_rate,
    load_optimizer_tensors,
    masked_mean,
    optimizer_tensors,
    token_log_probs,
)
from trellis_grpo.advantages import outcome_advantages, process_advantages
from trellis_grpo.config import GRPOConfig


class GRPO(PolicyOptimizer):
    """GRPO on outcomes and step rewards, with AdamW."""

    Config = GRPOConfig

    def __init__(self, config: GRPOConfig) -> None:
        self.config = config
        self._done = 0
        self._adamw: torch.optim.AdamW | None = None
        self._reference: torch.nn.Module | None = None
        self._restored: State | None = None

    @property
    def num_steps(self) -> int:
        """How many steps `train` yields in all."""
        return self.config.steps

    def check(self, *, task: Task, reward: RewardModel | None) -> None:
        """Raise CapabilityError if there is nothing to sample, or no reward for the process weight."""
        if not task.problems("train"):
            raise CapabilityError(type(task).__name__, capability="problems to train on", mend="grpo needs some.")
        if self.config.process_weight > 0 and reward is None:
            raise CapabilityError("grpo", capability="reward", mend="give the stage one, or set process_weight to 0.")

    def train(
        self, *, policy: TrainablePolicy, task: Task, reward: RewardModel | None = None, seed: int = 0
    ) -> Iterator[TrainStep]:
        """Train on the problems of the split "train"."""
        c = self.config
        self.check(task=task, reward=reward)
        problems = task.problems("train")
        traces = by_problem(task.traces("train")) if isinstance(reward, LearnedReward) else {}
        self._begin(policy)
        while self._done < c.steps:
            rng = np.random.default_rng([seed, self._done])
            count = min(c.problems_per_step, len(problems))
            chosen = [problems[i] for i in rng.choice(len(problems), size=count, replace=False)]
            rollouts = self._sample(
                policy, task, [task.start(p) for p in chosen], seeds=rng.integers(2**62, size=count)
            )
            trajectories = [rollout.trajectory for rollout in rollouts]
            metrics: dict[str, float] = {}

            if isinstance(reward, LearnedReward):
                matched = [trace for p in chosen for trace in traces.get(p.id, ())]
                metrics |= {f"reward/{name}": value for name, value in reward.update(matched, rollouts).items()}

            batch = policy.batch(trajectories)
            scores = [rollout.outcome.score for rollout in rollouts]
            outcome_B = outcome_advantages(scores, c.group_size).to(batch.mask_BT.device)
            advantage_BT = c.outcome_weight * outcome_B[:, None] * batch.mask_BT
            if reward is not None and c.process_weight > 0 and self._done >= c.process_from:
                paid = reward.reward(trajectories)
                metrics["process_reward"] = float(np.mean([value for row in paid for value in row]))
                advantage_BT = advantage_BT + c.process_weight * process_advantages(
                    paid, batch, c.group_size, credit=c.process_credit, scale=c.process_scale
                )

            metrics |= self._update(policy, batch, advantage_BT)
            metrics |= _describe(rollouts, outcome_B)
            self._done += 1
            yield TrainStep(self._done, metrics, tuple(rollouts))

    def _begin(self, policy: TrainablePolicy) -> None:
        """Set up AdamW and, for KL, the reference policy: as they were saved, or new."""
        c = self.config
        restored, self._restored = self._restored, None
        self._done = int(restored.values["done"]) if restored else 0  # type: ignore[arg-type]
        self._adamw = torch.optim.AdamW(policy.module.parameters(), betas=(0.9, 0.98), weight_decay=c.weight_decay)
        self._reference = copy.deepcopy(policy.module).requires_grad_(False) if c.kl_weight > 0 else None
        if restored is None:
            return
        tensors = restored.tensors
        load_optimizer_tensors(self._adamw, {k[6:]: v for k, v in tensors.items() if k.startswith("adamw.")})
        if self._reference is not None:
            self._reference.load_state_dict({k[10:]: v for k, v in tensors.items() if k.startswith("reference.")})
        self._restored = None

    def _sample(
        self, policy: TrainablePolicy, task: Task, prefixes: Sequence[Trajectory], *, seeds: np.ndarray
    ) -> list[Rollout]:
        """Sample and judge G rollouts of each prefix, groups in a row."""
        c = self.config
        requests = [
            SampleRequest(prefix, n=c.group_size, max_tokens=c.max_tokens, temperature=c.temperature, seed=int(s))
            for prefix, s in zip(prefixes, seeds, strict=True)
        ]
        answers = policy.sample(requests)
        sampled = [
            task.extend(p, completion) for p, group in zip(prefixes, answers, strict=True) for completion in group
        ]
        return [Rollout(trajectory, task.verify(trajectory), step=self._done) for trajectory in sampled]

    def _update(self, policy: TrainablePolicy, batch: TokenBatch, advantage_BT: torch.Tensor) -> dict[str, float]:
        """Make `epochs` steps on the clipped surrogate and return the last one's metrics."""
        c = self.config
        assert self._adamw is not None
        rate = learning_rate(self._done, c.steps, peak=c.learning_rate, final=c.final_learning_rate, schedule="linear")
        reference_BT = self._reference_log_probs(batch)
        old_BT: torch.Tensor | None = None
        for _ in range(c.epochs):
            log_prob_BT = policy.token_log_probs(batch, temperature=c.temperature)
            old_BT = log_prob_BT.detach() if old_BT is None else old_BT
            loss, clipped = surrogate(log_prob_BT, old_BT, advantage_BT, batch.mask_BT, clip=c.clip)
            kl = torch.zeros(())
            if reference_BT is not None:
                kl = kl_estimate(log_prob_BT, reference_BT, batch.mask_BT)
                loss = loss + c.kl_weight * kl
            norm = guarded_step(
                self._adamw,
                loss,
                lr=rate,
                max_grad_norm=c.max_grad_norm,
                step=self._done + 1,
                problems=list(dict.fromkeys(t.problem.id for t in batch.trajectories)),
            )
        return {
            "loss": loss.item(),
            "grad_norm": norm,
            "clipped": clipped.item(),
            "kl": kl.item(),
            "entropy": -masked_mean(old_BT, batch.mask_BT).item() if old_BT is not None else 0.0,
            "learning_rate": rate,
        }

    @torch.no_grad()
    def _reference_log_probs(self, batch: TokenBatch) -> torch.Tensor | None:
        if self._reference is None:
            return None
        logits_BTV = self._reference(input_ids=batch.ids_BT, attention_mask=batch.attention_BT).logits
        return token_log_probs(logits_BTV / self.config.temperature, batch.ids_BT) * batch.mask_BT

    def state(self) -> State:
        """Return AdamW's moments, the reference policy where there is one, and the number of steps done."""
        if self._restored is not None:
            return self._restored
        tensors = {f"adamw.{k}": v for k, v in optimizer_tensors(self._adamw).items()} if self._adamw else {}
        if self._reference is not None:
            tensors |= {f"reference.{k}": v for k, v in self._reference.state_dict().items()}
        return State(tensors, {"done": self._done})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._restored = state


def surrogate(
    log_prob_BT: torch.Tensor, old_BT: torch.Tensor, advantage_BT: torch.Tensor, mask_BT: torch.Tensor, *, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the clipped surrogate loss and the share of tokens clipped.

    L = -mean over tokens of min(ρ A, clip(ρ, 1 - ε, 1 + ε) A) with ρ = exp(log π - log π_old)
    (PPO, https://arxiv.org/abs/1707.06347, equation 7).
    """
    ratio_BT = (log_prob_BT - old_BT).exp()
    plain_BT = ratio_BT * advantage_BT
    clipped_BT = ratio_BT.clamp(1 - clip, 1 + clip) * advantage_BT
    loss = -masked_mean(torch.minimum(plain_BT, clipped_BT), mask_BT)
    return loss, masked_mean((clipped_BT < plain_BT).float(), mask_BT)


def kl_estimate(log_prob_BT: torch.Tensor, reference_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the mean of exp(d) - d - 1 with d = log π_ref - log π: unbiased for KL(π || π_ref), never negative.

    DeepSeekMath, equation 4; the estimator k3 of http://joschu.net/blog/kl-approx.html.
    """
    difference_BT = reference_BT - log_prob_BT
    return masked_mean(difference_BT.exp() - difference_BT - 1, mask_BT)


def _describe(rollouts: Sequence[Rollout], outcome_B: torch.Tensor) -> dict[str, float]:
    trajectories = [rollout.trajectory for rollout in rollouts]
    return {
        "accuracy": float(np.mean([rollout.outcome.correct for rollout in rollouts])),
        "outcome": float(np.mean([rollout.outcome.score for rollout in rollouts])),
        "tokens": float(np.mean([t.num_tokens for t in trajectories])),
        "steps": float(np.mean([len(t.steps) for t in trajectories])),
        "finished": float(np.mean([t.finished for t in trajectories])),
        "informative": float((outcome_B != 0).float().mean()),
    }
