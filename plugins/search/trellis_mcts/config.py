"""What can be set."""

from typing import Literal

from pydantic import Field

from trellis.component import Config
from trellis.contracts.aggregation import Aggregate


class MctsConfig(Config):
    """Settings of `mcts`."""

    simulations: int = Field(default=16, ge=0)
    """How many times a leaf is expanded after the root; fewer where the tree or the budget is exhausted before."""
    batch: int = Field(default=2, ge=1)
    """How many leaves are selected and expanded in one round; the fewer, the more each selection knows."""
    root_children: int = Field(default=8, ge=1)
    """Continuations sampled of the root. Few of them cap everything: a first step not among them is never taken."""
    children: int = Field(default=4, ge=1)
    """Continuations sampled of any other node when it is first expanded."""
    widening: float = Field(default=0.0, ge=0)
    """C of progressive widening: a node of N visits may have C · N^exponent more continuations; 0: it is expanded once."""
    widening_exponent: float = Field(default=0.5, ge=0, le=1)
    """The exponent of progressive widening."""
    c_puct: float = Field(default=1.0, ge=0)
    """How much exploring weighs against value; in standard deviations where values are standardised."""
    prior: Literal["duplicates", "uniform"] = "duplicates"
    """P of a child: its share of its parent's continuations, equal texts counted, or the same for all children."""
    backup: Literal["mean", "max"] = "max"
    """Q of a node: the mean value of all nodes below and itself, or the value of its best child."""
    standardise: bool = True
    """Whether a value is measured in standard deviations from the mean of all nodes seen at its depth."""
    choose: Literal["score", "value", "visits"] = "score"
    """The answer: the finished trajectory of the best score, of the best value, or the one the search went to most."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; at 0 all continuations of a node are the same."""
    aggregate: Aggregate = "last"
    """How the scores of a prefix's steps become its value."""
