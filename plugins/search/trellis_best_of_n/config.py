"""What can be set."""

from pydantic import Field

from trellis.component import Config
from trellis.contracts.aggregation import Aggregate


class GreedyConfig(Config):
    """Greedy has nothing to set."""


class MajorityConfig(Config):
    """Settings of `majority`."""

    n: int = Field(default=16, ge=1)
    """How many completions vote."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; at 0 all votes are the same."""


class BestOfNConfig(Config):
    """Settings of `best-of-n`."""

    n: int = Field(default=16, ge=1)
    """How many completions are sampled."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; at 0 all completions are the same."""
    aggregate: Aggregate = "last"
    """How the scores of a completion's steps become the number it is ranked by."""
