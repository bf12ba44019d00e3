"""What can be set."""

from pydantic import Field

from trellis.component import Config
from trellis.contracts.aggregation import Aggregate


class GreedyConfig(Config):
    """Greedy has nothing to set."""


class SampledConfig(Config):
    """What all searches that sample whole completions have."""

    n: int = Field(default=16, ge=1)
    """How many completions are sampled, at most."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; at 0 all completions are the same."""
    settle: float | None = Field(default=None, gt=0.5, lt=1)
    """Stop before `n` once the answer is settled with this probability; left out, all `n` are sampled at once."""
    batch: int = Field(default=4, ge=1)
    """How many completions are sampled between two looks at whether the answer is settled; without `settle` unused."""


class MajorityConfig(SampledConfig):
    """Settings of `majority`."""


class BestOfNConfig(SampledConfig):
    """Settings of `best-of-n`."""

    aggregate: Aggregate = "last"
    """How the scores of a completion's steps become the number it is ranked by."""


class WeightedMajorityConfig(SampledConfig):
    """Settings of `weighted-majority`."""

    aggregate: Aggregate = "last"
    """How the scores of a completion's steps become the number its vote is weighted by."""
    score_temperature: float = Field(default=1.0, gt=0)
    """T of a vote's weight exp(score / T): towards 0 the best completion decides, at large T all votes count the same."""
