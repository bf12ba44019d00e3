"""What can be set."""

from pydantic import Field

from trellis.component import Config
from trellis.contracts.aggregation import Aggregate


class BeamConfig(Config):
    """Settings of `beam`."""

    width: int = Field(default=4, ge=1)
    """How many unfinished prefixes are kept after each round."""
    expand: int = Field(default=4, ge=1)
    """Continuations of each kept prefix; a round samples `width * expand`, shared among the prefixes there are."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; at 0 all continuations of a prefix are the same."""
    aggregate: Aggregate = "last"
    """How the scores of a prefix's steps become the number it is ranked by."""
    dedupe: bool = True
    """Whether continuations with the same text count once, so that the beam does not fill with copies of one prefix."""


class DvtsConfig(Config):
    """Settings of `dvts`."""

    trees: int = Field(default=4, ge=1)
    """How many independent subtrees are grown."""
    expand: int = Field(default=4, ge=1)
    """Continuations of each subtree's prefix; a round samples `trees * expand`."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; at 0 all continuations of a prefix are the same, and so are all subtrees."""
    aggregate: Aggregate = "last"
    """How the scores of a prefix's steps become the number it is ranked by."""
    dedupe: bool = True
    """Whether continuations of one subtree with the same text count, and are scored, once."""
