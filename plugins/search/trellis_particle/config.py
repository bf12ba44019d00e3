"""What can be set."""

from typing import Literal

from pydantic import Field

from trellis.component import Config
from trellis.contracts.aggregation import Aggregate


class ParticleConfig(Config):
    """Settings of `particle`."""

    particles: int = Field(default=16, ge=1)
    """How many prefixes there are; a round samples one step of each that is open."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature of the steps."""
    aggregate: Aggregate = "last"
    """How the scores of a prefix's steps become the number it is weighted by."""
    weights: Literal["score", "increment"] = "score"
    """What a particle is weighted by: its "score", or the "increment" of the score since it was last resampled."""
    score_temperature: float = Field(default=1.0, gt=0)
    """T of the weights exp(score / T): towards 0 the best particle takes all places, at large T nothing is selected."""
    ess_threshold: float = Field(default=1.0, ge=0, le=1)
    """Resample when the effective sample size is below this share of `particles`; 1 every round, 0 never."""
    choose: Literal["best", "weighted-majority"] = "best"
    """The answer: the finished trajectory of the "best" score, or of a "weighted-majority" of the answers."""
    seed: int | None = None
    """Fixes which particles are resampled; takes the pipeline's seed where it is left out, in Python 0."""
