"""`results.json`: what a run measured. These models are its documentation and its JSON Schema."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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


class StageResults(_Model):
    """What one stage measured."""

    rows: tuple[Row, ...] = ()
    """The rows of an `evaluate` stage."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """The metrics of the stage's last step."""


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
