"""What can be set of the proposers."""

from typing import Annotated, Literal

from pydantic import Field

from trellis.component import Config

Count = Annotated[int, Field(ge=1)]


class ArmsConfig(Config):
    """Which switches are tried."""

    arms: Literal["bao-5", "bao-26"] = "bao-5"
    """The arms that Bao uses unless told otherwise (the default plan is one of the five), or all that it knows."""


class NeighboursConfig(Config):
    """How far a proposal may come."""

    neighbours: Count = 16
    """How many similar queries are looked at."""

    other_templates: bool = True
    """Whether hints are carried over from queries of another structure too, by the names of tables."""


class MovesConfig(Config):
    """Which changes are made, and of what."""

    bases: Count = 2
    """How many of the best measured hints are changed; without any that were faster, the default plan's own are."""

    methods: bool = True
    """Whether the method of a join is changed or left to the planner."""

    scans: bool = True
    """Whether the scan of a table is changed or left to the planner."""

    switches: bool = True
    """Whether joins' and scans' switches are turned."""

    cross_products: bool = False
    """Whether orders may join what no predicate connects, more often than the hints that are changed do."""


class RandomConfig(Config):
    """What is drawn."""

    bushy: bool = True
    """Whether a join may have a join as its right input."""

    methods: bool = False
    """Whether each join gets a random method."""

    scans: bool = False
    """Whether each table gets a random scan."""


class LanguageModelConfig(Config):
    """How hints are sampled."""

    samples: Count = 4
    """Sequences sampled for each proposal asked for: many are alike, and the most probable of them are proposed."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Flattens (above 1) or sharpens (below) what is sampled from."""

    max_tokens: Count = 1024
    """The longest line, in tokens."""

    free_methods: bool = False
    """Whether the model may leave the method of a join to the planner (`Join(t1 t2)`)."""

    sides: bool = True
    """Whether the model says which input of a join is the outer one; traces of a workload do not, without its `sides`."""

    bushy: bool = True
    """Whether a join may have a join as its right input."""

    cross_products: bool = False
    """Whether the model may join what no predicate connects, where there is another way."""


class HintWriterConfig(Config):
    """How hints are sampled, and which."""

    samples: Count = 4
    """Samples for each proposal asked for: many are alike."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Flattens (above 1) or sharpens (below) what is sampled from."""

    max_tokens: Count = 1024
    """The longest hints, in tokens; what is longer is dropped."""

    kinds: Annotated[tuple[Literal["scans", "joins", "leading", "switches"], ...], Field(min_length=1)] = (
        "scans",
        "joins",
        "leading",
        "switches",
    )
    """What the model may say: what the database can be asked for, and what the model was trained on."""


class PortfolioConfig(Config):
    """How proposals are shared out."""

    least: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """This much of all proposals is shared out evenly, whatever they were worth: who was bad once is asked again."""

    trust: Annotated[float, Field(gt=0)] = 4.0
    """A proposer without measurements counts as if so many proposals of it had been worth the mean of all."""


class PlannerCostConfig(Config):
    """How many orders the planner is asked about."""

    samples: Count = 32
    """Random orders to begin with."""

    rounds: Annotated[int, Field(ge=0)] = 4
    """How often the cheapest order so far is changed."""

    width: Count = 12
    """Changes tried a round; none that is cheaper ends the search."""

    bushy: bool = True
    """Whether a join may have a join as its right input."""


class AutosteerConfig(Config):
    """How far sets are merged."""

    largest: Count = 5
    """A set turns off so many switches at most."""


class CompletionConfig(Config):
    """How the matrix of queries and arms is completed."""

    rank: Count = 3
    """Rank of what fills the gaps."""

    ridge: Annotated[float, Field(gt=0)] = 0.2
    """λ: how far factors are drawn to 0, and how many measurements of no gain a mean is shrunk by."""


class BaoConfig(Config):
    """How the regression over plans is fitted and drawn from."""

    thompson: bool = True
    """Whether the weights are drawn from their posterior, as exploring wants it; if not, their mean decides."""

    ridge: Annotated[float, Field(gt=0)] = 5.0
    """λ: how far weights are drawn to 0."""
