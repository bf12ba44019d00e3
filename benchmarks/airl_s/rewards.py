"""The rewards that are compared, each fitted on rollouts of the SFT policy with the same number of updates.

What they are given differs: most get the rollouts and their outcomes; `monte-carlo` gets a share of them, and labels
sampled for the rest; `airl` gets no outcome, but given traces, and hard negatives that the policy finishes, which are more
samples. The report says so beside the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cell import Cell

from trellis import RewardModel, build

LOG_PI_WEIGHT = 0.5
"""w of a + w·log π, the same for every reward; log π of the whole prefix."""

LEARNING = {"average": 0.99}
"""The same for every learned reward; the learning rate is the task's (`BenchTask`)."""
OWN = {"experts": "rollouts", "search_score": "l", **LEARNING}
"""Experts are the policy's own rollouts that the verifier found correct."""
GIVEN = {"experts": "traces", "hard_negatives": {"share": 0.5}, "search_score": "l", **LEARNING}
"""Experts are given traces: no verifier, no labels; half of the negatives are traces made wrong."""
TRACES_PER_PROBLEM = 8


def airl_own(
    cell: Cell,
    name: str,
    config: Mapping[str, Any],
    *,
    score: str = "f",
    seed: int | None = None,
    fits: int | None = None,
) -> RewardModel:
    """Return AIRL with experts among the policy's own rollouts."""
    reads = {"search_score": score, "log_pi_weight": LOG_PI_WEIGHT}
    return cell.fitted(name, "airl", config, reads=reads, seed=seed, fits=fits)


def airl_given(
    cell: Cell,
    name: str,
    config: Mapping[str, Any],
    *,
    score: str = "f",
    seed: int | None = None,
    fits: int | None = None,
) -> RewardModel:
    """Return AIRL with given traces as experts."""
    hard = config.get("hard_negatives")
    if hard:
        config = {**config, "hard_negatives": {**hard, "max_tokens": cell.bench.max_tokens}}
    return cell.fitted(
        name,
        "airl",
        config,
        # As many sequences go through the network per update as with the others: half of them are experts.
        batch=cell.sizes.fit_batch // 2,
        by="rollout",
        seed=seed,
        # Neither outcomes nor labels choose the fit either.
        keep="loss",
        fits=fits,
        reads={"search_score": score, "log_pi_weight": LOG_PI_WEIGHT},
        task=cell.task,
        experts=cell.task_with(traces_per_problem=TRACES_PER_PROBLEM),
    )


def monte_carlo(cell: Cell) -> RewardModel:
    """Return Math-Shepherd labels at equal rollouts: few are labelled, and the labels' completions count as rollouts."""
    begun = cell.rollouts[:: cell.sizes.group]
    config = {
        "completions": 4,
        "budget_rollouts": len(cell.rollouts) - len(begun),
        "max_tokens": cell.bench.max_tokens,
        **LEARNING,
    }
    return cell.fitted("monte-carlo", "monte-carlo", config, rollouts=begun, by="rollout", task=cell.task)


def with_log_pi(cell: Cell, reward: RewardModel) -> RewardModel:
    """Return a + w·log π."""
    rewards = {"a": reward, "log-pi": build("log-pi", policy=cell.policy)}
    combined: RewardModel = build("weighted-sum", {"weights": {"a": 1.0, "log-pi": LOG_PI_WEIGHT}}, rewards=rewards)
    return combined


def learned(cell: Cell, use: str, **config: Any) -> RewardModel:
    """Return a reward learned from the rollouts' outcomes."""
    return cell.fitted(use, use, {**LEARNING, **config})


RAW: dict[str, Callable[[Cell], RewardModel]] = {
    "airl l": lambda cell: airl_given(cell, "airl", GIVEN, score="l"),
    "airl-own l": lambda cell: airl_own(cell, "airl-own", OWN, score="l"),
    "correct-wrong": lambda cell: airl_own(cell, "correct-wrong", {**OWN, "negatives": "wrong"}, score="l"),
    "outcome-value": lambda cell: learned(cell, "outcome-value"),
    "monte-carlo": monte_carlo,
}
"""Rewards without log π in them."""

BOUNDS: dict[str, Callable[[Cell], RewardModel]] = {
    "log-pi": lambda cell: build("log-pi", policy=cell.policy),
    "random": lambda cell: build("random", {"seed": cell.seed}),
    "verifier": lambda cell: build("verifier", task=cell.task),
    "oracle": lambda cell: build("oracle", task=cell.task),
}
"""What needs no fit."""


def all_rewards(cell: Cell) -> dict[str, RewardModel]:
    """Return every reward: the bounds, the raw ones, and those with log π added; AIRL's sum with it is f."""
    rewards = {name: make(cell) for name, make in (BOUNDS | RAW).items()}
    for name in RAW:
        combined = name.replace(" l", " f") if name.endswith(" l") else f"{name} + log-pi"
        rewards[combined] = with_log_pi(cell, rewards[name])
    return rewards


def f(cell: Cell) -> RewardModel:
    """Return AIRL's f, what search is steered by."""
    return airl_given(cell, "airl", GIVEN)
