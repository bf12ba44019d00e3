"""`results.json`: what a run measured. These models are its documentation and its JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

TABLES = ("rows", "policies", "rewards")
"""The lists of rows that a stage's results hold."""


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class Row(_Model):
    """One measurement: a policy, a search and a reward on a set of problems."""

    policy: str
    """The policy's name in the pipeline, and after `@` the stage whose weights it had, if not its latest."""
    search: str
    """The search's name in the pipeline."""
    reward: str | None
    """The reward's name in the pipeline; null for a search that needs none."""
    aggregate: str | None
    """How the search made one number of a trajectory's step scores; null where it made none."""
    accuracy: float = Field(ge=0, le=1)
    """Share of problems answered correctly."""
    ci95: tuple[float, float]
    """Wilson's 95% confidence interval of the accuracy."""
    problems: int = Field(ge=1)
    """How many problems."""
    tokens_per_problem: float = Field(ge=0)
    """Mean number of tokens sampled from the policy per problem."""
    seconds: float = Field(ge=0)
    """Wall-clock seconds for all problems."""


class PassAtK(_Model):
    """The chance that at least one of k rollouts is correct."""

    k: int = Field(ge=1)
    """How many rollouts."""
    value: float = Field(ge=0, le=1)
    """The unbiased estimate, as a mean over problems."""
    ci95: tuple[float, float]
    """Its 95% interval, from a bootstrap over problems."""


class PolicyRow(_Model):
    """A policy measured by its rollouts, without any search."""

    policy: str
    """The policy's name in the pipeline."""
    problems: int = Field(ge=1)
    """How many problems."""
    rollouts: int = Field(ge=1)
    """How many rollouts, of all problems together."""
    accuracy: float = Field(ge=0, le=1)
    """Share of rollouts that are correct."""
    pass_at_k: tuple[PassAtK, ...]
    """For k = 1, 2, 4, … up to the rollouts per problem."""
    tokens_per_rollout: float = Field(ge=0)
    """Mean number of tokens of a rollout, the prompt not counted."""


class RewardRow(_Model):
    """A reward measured on rollouts, without any search."""

    reward: str
    """The reward's name in the pipeline."""
    policy: str
    """The policy that sampled the rollouts."""
    problems: int = Field(ge=1)
    """How many problems."""
    rollouts: int = Field(ge=1)
    """How many rollouts, of all problems together."""
    auc: float | None = Field(ge=0, le=1)
    """The probability that a correct rollout scores above an incorrect one of the same problem, by the last step's
    score; null where no problem has both."""
    spearman: float | None = Field(ge=-1, le=1)
    """The rank correlation of the last step's score with the outcome's score, over all rollouts."""
    step_auc: float | None = Field(ge=0, le=1)
    """The probability that a step after which the problem can still be solved scores above another, over all pairs of
    steps; null where the task has no step oracle."""
    step_auc_within: float | None = Field(ge=0, le=1)
    """The same among the steps of one problem, as a mean over problems."""
    ece: float | None = Field(ge=0, le=1)
    """The expected calibration error of the last step's score, made a probability by a logistic curve that was fitted on
    half of the problems, on the other half."""
    brier: float | None = Field(ge=0, le=1)
    """The Brier score of those probabilities."""
    selected: float = Field(ge=0, le=1)
    """Share of problems of which the finished rollout that scores highest is correct."""
    gain: float = Field(ge=-1, le=1)
    """`selected` less the mean share of correct rollouts: what choosing by this reward brings."""
    gain_ci95: tuple[float, float]
    """The 95% interval of the gain, from a paired bootstrap over problems."""


class StageResults(_Model):
    """What one stage measured."""

    rows: tuple[Row, ...] = ()
    """The rows of an `evaluate` stage."""
    policies: tuple[PolicyRow, ...] = ()
    """The policy as an `assess` stage measured it."""
    rewards: tuple[RewardRow, ...] = ()
    """The rewards as an `assess` stage measured them."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """The metrics of the stage's last step."""

    def with_row(self, table: str, row: Mapping[str, Any]) -> StageResults:
        """Return the same with a row more in one of the tables."""
        return StageResults.model_validate(self.model_dump() | {table: (*getattr(self, table), row)})

    def num_rows(self) -> dict[str, int]:
        """Return how many rows each table has."""
        return {table: len(getattr(self, table)) for table in TABLES}

    def first(self, num_rows: Mapping[str, int]) -> StageResults:
        """Return the first rows of each table, without metrics."""
        return StageResults(**{table: getattr(self, table)[: num_rows.get(table, 0)] for table in TABLES})


class Results(_Model):
    """The whole file."""

    stages: dict[str, StageResults] = Field(default_factory=dict)
    """By stage name, in the order in which they ran."""


def results_schema() -> dict[str, Any]:
    """Return the JSON Schema of `results.json`."""
    return Results.model_json_schema(mode="serialization")


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95% interval for a proportion (https://doi.org/10.1080/01621459.1927.10502953)."""
    z = 1.959963984540054
    share = correct / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # Rounding must not put an end that is exactly 0 or 1 beside the share itself.
    low = 0.0 if correct == 0 else (centre - half) / scale
    high = 1.0 if correct == count else (centre + half) / scale
    return (low, high)
