"""What can be set of the embedders."""

from typing import Annotated, Literal

from pydantic import Field

from trellis.component import Config

Weight = Annotated[float, Field(ge=0)]


class SQLFeaturesConfig(Config):
    """What counts how much when two queries are compared: the cosine is the mean of the groups' own, by squared weight."""

    dimension: Annotated[int, Field(ge=32)] = 256
    """Length of a vector; half of it is for the structure, half for the values."""

    tables: Weight = 1.0
    """Weight of which tables are read."""

    edges: Weight = 1.0
    """Weight of the join conditions."""

    filters: Weight = 0.8
    """Weight of the conditions on single tables, their constants left out."""

    literals: Weight = 0.6
    """Weight of the constants in those conditions."""

    selectivities: Weight = 0.8
    """Weight of the planner's selectivity of each table; nothing without a database."""


class NgramsConfig(Config):
    """How texts are cut."""

    dimension: Annotated[int, Field(ge=32)] = 256
    """Length of a vector."""

    n: Annotated[int, Field(ge=1, le=12)] = 4
    """Characters in a piece."""


class SentenceTransformersConfig(Config):
    """Which model, and how it is read."""

    model: Annotated[str, Field(min_length=1)] = "sentence-transformers/paraphrase-MiniLM-L6-v2"
    """A directory, or a name on the hub. The default is SEFRQO's."""

    revision: str | None = None
    """A branch, tag or commit on the hub; left out, its main branch."""

    pooling: Literal["mean", "cls"] = "mean"
    """How token vectors become one: their mean, or the first of them."""

    max_tokens: Annotated[int, Field(ge=8)] | None = None
    """Longer texts are cut; left out, what the model can read."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Texts at once."""

    device: str | None = None
    """A torch device; left out, the pipeline's."""
