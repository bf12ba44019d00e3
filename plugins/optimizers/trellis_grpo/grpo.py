"""Group relative policy optimization (DeepSeekMath, https://arxiv.org/abs/2402.03300), with step rewards beside outcomes.

One iteration: sample G rollouts of each problem, judge them, let a learned reward learn from them, turn outcomes and
step rewards into advantages, and make `epochs` steps on the clipped surrogate.

Deviations from the paper, each deliberate:
- The loss is the mean over all tokens of the batch (DAPO, https://arxiv.org/abs/2503.14476), not a mean of means, unless
  `loss_average: sequences` asks for it.
- No KL by default.
- Outcome and process advantages are normalised each on its own and then summed (normalise, then sum). Outcomes are
  divided by their standard deviation within the group; process rewards are centred within the group and, unless
  `process_scale: std` asks for it, not divided: dividing made a weak reward's noise as loud as a good one's signal.

The variants of later papers are options; `GRPOConfig` says which make which.

Shape suffixes: B rollouts, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from trellis import (
    LearnedReward,
    PolicyOptimizer,
    Problem,
    RewardModel,
    Rollout,
    SampleRequest,
    State,
    Task,
    TrainablePolicy,
    TrainStep,
)
from trellis.contracts.task import by_problem
from trellis.distributed import spread
from trellis.errors import CapabilityError
from trellis.nn import (
    TokenBatch,
    fork,
    guarded_step,
    in_parts,
    learning_rate,
    load_optimizer_tensors,
    load_own_tensors,
    masked_mean,
    module_log_probs,
    optimizer_tensors,
    own_tensors,
    sharded,
    token_entropies,
    token_log_probs,
    trainable,
    within,
)
from trellis.sampling import judged_rollouts
from trellis_grpo.advantages import outcome_advantages, process_advantages
from trellis_grpo.config import GRPOConfig
from trellis_grpo.surrogate import average, importance_weights, kl_terms, surrogate


class GRPO(PolicyOptimizer):
    """GRPO on outcomes and step rewards, with AdamW."""

    Config = GRPOConfig

    def __init__(self, config: GRPOConfig) -> None:
        self.config = config
        self._done = 0
        self._adamw: torch.optim.AdamW | None = None
        self._reference: torch.nn.Module | None = None
        self._reference_tensors: dict[str, torch.Tensor] = {}
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
        learner = reward if isinstance(reward, LearnedReward) and c.reward_updates else None
        traces = by_problem(task.traces("train")) if learner else {}
        self._begin(policy)
        while self._done < c.steps:
            rollouts, sampled = self._sample_batch(policy, task, problems, np.random.default_rng([seed, self._done]))
            trajectories = [rollout.trajectory for rollout in rollouts]
            metrics: dict[str, float] = {}

            if learner is not None:
                tried = dict.fromkeys(rollout.trajectory.problem.id for rollout in sampled)
                matched = [trace for problem_id in tried for trace in traces.get(problem_id, ())]
                metrics |= {f"reward/{name}": value for name, value in learner.update(matched, sampled).items()}

            batch = policy.batch(trajectories)
            outcome_B = self._outcome_advantages(rollouts).to(batch.mask_BT.device)
            advantage_BT = c.outcome_weight * outcome_B[:, None] * batch.mask_BT
            counts = c.process_from <= self._done and (c.process_until is None or self._done < c.process_until)
            if reward is not None and c.process_weight > 0 and counts:
                paid = spread(reward.reward, trajectories)
                metrics["process_reward"] = float(np.mean([value for row in paid for value in row]))
                advantage_BT = advantage_BT + c.process_weight * process_advantages(
                    paid,
                    batch,
                    c.group_size,
                    credit=c.process_credit,
                    scale=c.process_scale,
                    form=c.process_form,
                    temperature=c.process_temperature,
                )

            metrics |= self._update(policy, batch, advantage_BT)
            metrics |= _describe(sampled)
            metrics["informative"] = float((outcome_B != 0).float().mean())
            metrics["resampled"] = len(sampled) / len(rollouts) - 1
            self._done += 1
            yield TrainStep(self._done, metrics, tuple(sampled))

    def _begin(self, policy: TrainablePolicy) -> None:
        """Set up AdamW and, for KL, the reference policy: as they were saved, or new."""
        c = self.config
        restored, self._restored = self._restored, None
        self._done = int(restored.values["done"]) if restored else 0  # type: ignore[arg-type]
        self._adamw = torch.optim.AdamW(trainable(policy.module), betas=(0.9, 0.98), weight_decay=c.weight_decay)
        if restored is not None:
            moments = {k[6:]: v for k, v in restored.tensors.items() if k.startswith("adamw.")}
            load_optimizer_tensors(self._adamw, moments)
        self._reference, self._reference_tensors = None, {}
        if c.kl_weight == 0:
            return
        # Of a policy that trains an adapter, the reference is another adapter on the same weights.
        self._reference = fork(policy.module).requires_grad_(False)
        saved = restored.tensors if restored is not None else {}
        reference = {k[10:]: v for k, v in saved.items() if k.startswith("reference.")}
        # Without one, KL was turned on for the resumed run: the reference is the policy as it is now.
        if reference:
            load_own_tensors(self._reference, reference, beside=policy.module)
        self._reference_tensors = own_tensors(self._reference, beside=policy.module)

    def _sample_batch(
        self, policy: TrainablePolicy, task: Task, problems: Sequence[Problem], rng: np.random.Generator
    ) -> tuple[list[Rollout], list[Rollout]]:
        """Sample a group for each of a step's problems; return the batch to learn from, and all that was sampled for it.

        Dynamic sampling (DAPO, section 3.2): in each of `resample_rounds` the groups whose outcomes are all the same make
        way for groups of problems that were not yet tried in this step.
        """
        c = self.config
        count = min(c.problems_per_step, len(problems))
        drawn = rng.choice(len(problems), size=count, replace=False)
        groups = self._sample(policy, task, [problems[i] for i in drawn], seeds=rng.integers(2**62, size=count))
        sampled = list(groups)
        untried = np.setdiff1d(np.arange(len(problems)), drawn)
        for _ in range(c.resample_rounds):
            alike = [place for place, group in enumerate(groups) if not self._outcome_advantages(group).any()]
            count = min(len(alike), len(untried))
            if count == 0:
                break
            drawn = rng.choice(untried, size=count, replace=False)
            untried = np.setdiff1d(untried, drawn)
            fresh = self._sample(policy, task, [problems[i] for i in drawn], seeds=rng.integers(2**62, size=count))
            sampled += fresh
            for place, group in zip(alike, fresh, strict=False):
                groups[place] = group
        return [rollout for group in groups for rollout in group], [rollout for group in sampled for rollout in group]

    def _sample(
        self, policy: TrainablePolicy, task: Task, problems: Sequence[Problem], *, seeds: np.ndarray
    ) -> list[list[Rollout]]:
        """Sample and judge a group of G rollouts of each problem."""
        c = self.config
        prefixes = [task.start(problem) for problem in problems]
        requests = [
            SampleRequest(prefix, n=c.group_size, max_tokens=c.max_tokens, temperature=c.temperature, seed=int(s))
            for prefix, s in zip(prefixes, seeds, strict=True)
        ]
        return judged_rollouts(policy, task, requests, step=self._done)

    def _outcome_advantages(self, rollouts: Sequence[Rollout]) -> torch.Tensor:
        c = self.config
        scores = [rollout.outcome.score for rollout in rollouts]
        return outcome_advantages(scores, c.group_size, baseline=c.outcome_baseline, scale=c.outcome_scale)

    def _update(self, policy: TrainablePolicy, batch: TokenBatch, advantage_BT: torch.Tensor) -> dict[str, float]:
        """Make `epochs` steps on the clipped surrogate and return the last one's metrics."""
        c = self.config
        assert self._adamw is not None
        rate = learning_rate(self._done, c.steps, peak=c.learning_rate, final=c.final_learning_rate, schedule="linear")
        reference_BT = within(policy.budget, lambda: self._reference_log_probs(policy, batch))
        mask_BT = batch.mask_BT
        mean = partial(average, mask_BT=mask_BT, over=c.loss_average, max_tokens=c.max_tokens)
        old_BT: torch.Tensor | None = None

        def step() -> tuple[torch.Tensor, dict[str, float]]:
            assert self._adamw is not None
            log_prob_BT, entropy_BT = self._log_probs(policy, batch)
            before_BT = log_prob_BT.detach() if old_BT is None else old_BT
            loss_BT, clipped = surrogate(
                log_prob_BT, before_BT, advantage_BT, mask_BT, clip=c.clip, clip_high=c.clip_high, ratio=c.ratio
            )
            extra: dict[str, float] = {}
            if c.importance_cap is not None:
                # Of the policy as it was when it sampled: how far it has gone since is what the surrogate's own ratio is for.
                sampled_BT = _sampled(batch)
                weight_BT = importance_weights(before_BT, sampled_BT, cap=c.importance_cap)
                loss_BT = weight_BT * loss_BT
                extra |= _describe_weights(weight_BT, before_BT - sampled_BT, mask_BT, cap=c.importance_cap)
            loss = mean(loss_BT)
            kl = torch.zeros(())
            if reference_BT is not None:
                kl_BT = kl_terms(log_prob_BT, reference_BT)
                loss = loss + c.kl_weight * mean(kl_BT)
                kl = masked_mean(kl_BT, mask_BT)
            if entropy_BT is not None:
                loss = loss - c.entropy_weight * mean(entropy_BT)
                extra["exact_entropy"] = masked_mean(entropy_BT, mask_BT).item()
            norm = guarded_step(
                self._adamw,
                loss,
                lr=rate,
                max_grad_norm=c.max_grad_norm,
                step=self._done + 1,
                problems=list(dict.fromkeys(t.problem.id for t in batch.trajectories)),
            )
            return before_BT, extra | {
                "loss": loss.item(),
                "grad_norm": norm,
                "clipped": clipped.item(),
                "kl": kl.item(),
                "entropy": -masked_mean(before_BT, mask_BT).item(),
                "learning_rate": rate,
            }

        for _ in range(c.epochs):
            old_BT, metrics = within(policy.budget, step)
        return metrics

    def _log_probs(self, policy: TrainablePolicy, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return log π of each token and, where it has a weight, the entropy of what each was drawn from."""
        c = self.config
        if c.entropy_weight == 0:
            return sharded(partial(policy.token_log_probs, temperature=c.temperature), batch), None

        def both(batch: TokenBatch) -> torch.Tensor:
            logits_BTV = policy.module(input_ids=batch.ids_BT, attention_mask=batch.attention_BT).logits / c.temperature
            logits_BTV = batch.constrained(logits_BTV)
            return torch.stack([token_log_probs(logits_BTV, batch.ids_BT), token_entropies(logits_BTV)], dim=-1)

        log_prob_BT, entropy_BT = sharded(lambda rows: in_parts(both, rows, policy.budget), batch).unbind(-1)
        return log_prob_BT * batch.mask_BT, entropy_BT

    @torch.no_grad()
    def _reference_log_probs(self, policy: TrainablePolicy, batch: TokenBatch) -> torch.Tensor | None:
        if self._reference is None:
            return None
        run = partial(module_log_probs, self._reference, temperature=self.config.temperature)
        return sharded(lambda rows: in_parts(run, rows, policy.budget), batch) * batch.mask_BT

    def state(self) -> State:
        """Return AdamW's moments, the reference policy where there is one, and the number of steps done."""
        if self._restored is not None:
            return self._restored
        tensors = {f"adamw.{k}": v for k, v in optimizer_tensors(self._adamw).items()} if self._adamw else {}
        tensors |= {f"reference.{name}": value for name, value in self._reference_tensors.items()}
        return State(tensors, {"done": self._done})

    def restore(self, state: State) -> None:
        """Go on from `state`."""
        self._restored = state


def _sampled(batch: TokenBatch) -> torch.Tensor:
    """Return the log-probability each token was sampled with; shape (B, T), 0 outside the steps."""
    values = [value for t in batch.trajectories for step in t.steps for value in step.log_probs]
    sampled_BT = torch.zeros(batch.mask_BT.shape, device=batch.mask_BT.device)
    sampled_BT[batch.mask_BT] = torch.tensor(values, device=batch.mask_BT.device)
    return sampled_BT


def _describe_weights(
    weight_BT: torch.Tensor, difference_BT: torch.Tensor, mask_BT: torch.Tensor, *, cap: float
) -> dict[str, float]:
    """Return how far the sampler is from the policy: the mean weight, the share cut, and an estimate of KL(μ || π)."""
    return {
        "importance_weight": masked_mean(weight_BT, mask_BT).item(),
        "importance_truncated": masked_mean((weight_BT >= cap).float(), mask_BT).item(),
        "sampler_kl": masked_mean(difference_BT.exp() - difference_BT - 1, mask_BT).item(),
    }


def _describe(rollouts: Sequence[Rollout]) -> dict[str, float]:
    trajectories = [rollout.trajectory for rollout in rollouts]
    return {
        "accuracy": float(np.mean([rollout.outcome.correct for rollout in rollouts])),
        "outcome": float(np.mean([rollout.outcome.score for rollout in rollouts])),
        "tokens": float(np.mean([t.num_tokens for t in trajectories])),
        "steps": float(np.mean([len(t.steps) for t in trajectories])),
        "finished": float(np.mean([t.finished for t in trajectories])),
        "max_tokens_share": float(np.mean([t.cut for t in trajectories])),
    }
