"""What can be set of the generator of workloads."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from trellis.component import Config
from trellis.measuring.config import MeasureConfig

Shape: TypeAlias = Literal["star", "snowflake", "chain", "cycle", "many-to-many", "hub", "wide", "control"]
ALL_SHAPES: tuple[Shape, ...] = ("star", "snowflake", "chain", "cycle", "many-to-many", "hub", "wide", "control")


class GeneratorConfig(Config):
    """Which shop to make, and which queries to ask of it."""

    seed: Annotated[int, Field(ge=0, lt=2**50)] = 0
    """Fixes every row and every query. A workload is the same in every process, whatever the pipeline's own seed is."""

    scale: Annotated[float, Field(ge=0.05, le=20)] = 1.0
    """Rows relative to the default shop, which has 0.8 million in 15 tables. Cities, stores, brands, categories and tags
    are as many at every scale."""

    shapes: Annotated[tuple[Shape, ...], Field(min_length=1)] = ALL_SHAPES
    """The shapes of join graph that queries are drawn from, equally often per template."""

    templates: tuple[str, ...] | None = None
    """Draw from these templates alone; left out, from all that have one of the `shapes`."""

    num_queries: Annotated[int, Field(ge=1)] = 400
    """How many queries in all, every template as often as the others (give or take one)."""

    held_out: tuple[str, ...] = ()
    """Templates whose queries all belong to the split `test`: nothing of their join graph is seen in training."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for name, values in (("shapes", self.shapes), ("templates", self.templates or ()), ("held_out", self.held_out)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name} lists {', '.join(twice)} more than once")
        if self.templates == ():
            raise ValueError("templates is empty: name at least one, or leave it out for all of them")
        return self


class MeasuredConfig(Config):
    """How a workload's solutions are measured."""

    measure: MeasureConfig = MeasureConfig()
    """The protocol of each measurement."""

    journal: str | None = None
    """A journal that a stage `evolve` or `trellis sql explore` has filled: the fastest plan that it knows of a query is the
    query's trace. Left out, there are no traces."""

    methods: bool = False
    """Whether decisions name join methods. Without an extension PostgreSQL takes none for a single join, and a decision is
    an order alone: `Join(t1 t2)`."""

    sides: bool = False
    """Whether decisions say which input of a join is the outer one. Without an extension PostgreSQL chooses that itself: of
    what differs in sides alone one form is written, so that one plan has one form to learn."""

    constrained: bool = True
    """Whether a policy writes legal decisions alone, sampled among those that can follow; that takes a policy with the capability
    "choices". If not, it writes freely, and what is not legal is wrong."""

    skip_unusable: bool = False
    """Whether queries that cannot be read, or do more than read, are left out; else the first of them is an error."""


class FilesConfig(MeasuredConfig):
    """Where the queries are."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    """Required: SQL files, and folders of them, yours. A query's split comes from its fingerprint: seven in ten train, one
    validation, two test."""


class ShopConfig(GeneratorConfig, MeasuredConfig):
    """Which shop, and where it is loaded."""

    load_dsn: str | None = None
    """An administrator's connection string, to load the shop with; left out, the embedded server's own."""


class RecordedConfig(MeasuredConfig):
    """Which of the recorded queries."""

    limit: Annotated[int, Field(ge=1)] = 100
    """So many queries at most, those that took longest in all."""

    min_calls: Annotated[int, Field(ge=1)] = 1
    """Queries that ran less often are left out."""

    variants: Annotated[int, Field(ge=1)] = 3
    """So many instances of each query with parameters, each with constants of its own."""

    seed: int | None = None
    """Draws the constants."""
