"""A process reward model on Monte-Carlo labels.

Math-Shepherd (Wang et al. 2023, https://arxiv.org/abs/2312.08935): a step is as good as what can still be made of it.
From the prefix that ends with step k, N completions are sampled from the policy and verified, and the step's label is

    soft    y_k = (correct completions) / N          (its equation 4)
    hard    y_k = 1 if any is correct, else 0        (its equation 3)

and that of the last step is the rollout's own outcome. Then

    loss = -mean over labelled steps of [y log σ(l) + (1 - y) log(1 - σ(l))].

Labels cost N completions each. They are made once for each prefix (a problem's id and the text so far) and kept: a
prefix that comes again, in this rollout or in another, costs nothing. So a label tells of the policy as it was when the
label was made. `reset` forgets them all: with `fits: 3` a `fit-reward` stage pays, and is granted, three times over.

Deliberate deviations: the completer is the policy itself, not another model; the budget; a prefix's samples have a seed
of their own, so labels do not depend on the order in which rollouts come.

Shape suffixes: B rollouts, S steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trellis import Rollout, SampleRequest, Task, TrainablePolicy, Trajectory
from trellis.distributed import spread
from trellis.fitting.reward import Objective
from trellis.fitting.step_reward import StepReward
from trellis.nn import StepNet, masked_mean, sharded
from trellis_prm.config import MonteCarloConfig

Key: TypeAlias = tuple[str, str]
"""A problem's id and the text of a prefix."""


class MonteCarlo(StepReward):
    """The logit of the share of the policy's completions that solve the problem from a step on."""

    Config = MonteCarloConfig

    def __init__(
        self, config: MonteCarloConfig, *, policy: TrainablePolicy, task: Task, trunk: TrainablePolicy | None = None
    ) -> None:
        super().__init__(config, policy=policy, trunk=trunk)
        self.config = config
        self.task = task
        self.shares: dict[Key, float] = {}
        self.num_sampled = 0

    def objective(self, traces: Sequence[Trajectory], rollouts: Sequence[Rollout]) -> Objective[StepNet] | None:
        """Label what is not labelled yet, and return the cross-entropy with the labels; traces are not looked at."""
        used = self._label(rollouts)
        if not used:
            return None
        batch = self.batch([rollout.trajectory for rollout in used])
        label_BS = torch.zeros(batch.step_mask_BS.shape)
        labelled_BS = torch.zeros(batch.step_mask_BS.shape, dtype=torch.bool)
        for row, rollout in enumerate(used):
            for step, label in self.labels(rollout).items():
                label_BS[row, step], labelled_BS[row, step] = label, True
        label_BS, labelled_BS = label_BS.to(batch.ids_BT.device), labelled_BS.to(batch.ids_BT.device)
        counts = {"completions_sampled": self.num_sampled, "left_out": len(rollouts) - len(used)}
        known = {name: torch.tensor(float(count)) for name, count in counts.items()}

        def loss(net: StepNet) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
            logit_BS = sharded(net, batch)
            loss_BS = binary_cross_entropy_with_logits(logit_BS, label_BS, reduction="none")
            error_BS = (logit_BS.sigmoid() - label_BS).abs()
            means = {"label_mean": masked_mean(label_BS, labelled_BS), "error": masked_mean(error_BS, labelled_BS)}
            return masked_mean(loss_BS, labelled_BS), {**means, **known}

        return loss

    def labels(self, rollout: Rollout) -> dict[int, float]:
        """Return the labels known of a rollout's steps, by their index; the last step's is the outcome."""
        labels = {
            len(prefix.steps) - 1: float(self.shares[_key(prefix)] > 0)
            if self.config.labels == "hard"
            else self.shares[_key(prefix)]
            for prefix in self._prefixes(rollout.trajectory)
            if _key(prefix) in self.shares
        }
        return {**labels, len(rollout.trajectory.steps) - 1: float(rollout.outcome.correct)}

    @property
    def why_skipped(self) -> str:
        """Say that the budget was spent, if it was."""
        budget = self.config.budget_rollouts
        if budget is None:
            return super().why_skipped
        return (
            f"no rollout could be labelled within `budget_rollouts: {budget}`: {self.num_sampled} completions are sampled, "
            f"and each prefix takes {self.config.completions}. Raise the budget, or lower `completions` or "
            "`prefixes_per_rollout`"
        )

    def memory(self) -> Mapping[str, Any]:
        """Return the shares by problem and prefix, and what they cost."""
        shares: dict[str, dict[str, float]] = {}
        for (problem, text), share in self.shares.items():
            shares.setdefault(problem, {})[text] = share
        return {"shares": shares, "num_sampled": self.num_sampled}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take what `memory` returned."""
        problems = memory["shares"] if memory else {}
        self.shares = {(problem, text): share for problem, texts in problems.items() for text, share in texts.items()}
        self.num_sampled = memory["num_sampled"] if memory else 0

    def _label(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Sample the labels that are missing, first come first served; return the rollouts whose labels are all known."""
        budget = self.config.budget_rollouts
        missing: dict[Key, Trajectory] = {}
        used = []
        for rollout in rollouts:
            new = {_key(prefix): prefix for prefix in self._prefixes(rollout.trajectory)}
            more = {key: prefix for key, prefix in new.items() if key not in self.shares and key not in missing}
            cost = (len(missing) + len(more)) * self.config.completions
            if not more or budget is None or self.num_sampled + cost <= budget:
                missing |= more
                used.append(rollout)
        self.shares |= self._sample(missing)
        self.num_sampled += len(missing) * self.config.completions
        return used

    def _sample(self, prefixes: Mapping[Key, Trajectory]) -> dict[Key, float]:
        """Return the share of correct completions of each prefix."""
        c = self.config
        requests = [
            SampleRequest(
                prefix, n=c.completions, max_tokens=c.max_tokens, temperature=c.temperature, seed=_hash(self.seed, key)
            )
            for key, prefix in prefixes.items()
        ]

        def shares(requests: Sequence[SampleRequest]) -> list[float]:
            return [
                sum(self.task.verify(self.task.extend(request.prefix, answer)).correct for answer in answers)
                / len(answers)
                for request, answers in zip(requests, self.policy.sample(requests), strict=True)
            ]

        return dict(zip(prefixes, spread(shares, requests) if requests else [], strict=True))

    def _prefixes(self, trajectory: Trajectory) -> list[Trajectory]:
        """Return the prefixes that are labelled by sampling, shortest first: all but the whole, or some drawn of them."""
        prefixes, count = list(_proper_prefixes(trajectory)), self.config.prefixes_per_rollout
        if count is None or count >= len(prefixes):
            return prefixes
        # Drawn by hash, so that rollouts with a beginning in common tend to draw the same prefixes of it.
        drawn = sorted(prefixes, key=lambda prefix: _hash(self.seed, _key(prefix)))[:count]
        return sorted(drawn, key=lambda prefix: len(prefix.steps))


def _proper_prefixes(trajectory: Trajectory) -> Iterator[Trajectory]:
    for count in range(1, len(trajectory.steps)):
        yield replace(trajectory, steps=trajectory.steps[:count], finished=False, cut=False, answer=None)


def _key(prefix: Trajectory) -> Key:
    return prefix.problem.id, prefix.text


def _hash(seed: int, key: Key) -> int:
    digest = hashlib.sha256(json.dumps([seed, *key]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2
