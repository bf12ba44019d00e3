"""Embedders: vectors of SQL queries whose cosine says how much two queries are alike.

`{use: sql-features}` compares join graphs, conditions and how close their constants are; with `needs: {database: …}` the
planner's selectivities too. `ngrams` compares texts. `sentence-transformers` runs a model from a directory or a hub.
"""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_embed.config import NgramsConfig, SentenceTransformersConfig, SQLFeaturesConfig


@hookimpl
def trellis_embedders() -> Iterable[Component]:
    """Return the embedders of this plugin."""
    yield Component(
        "sql-features",
        "join graph, conditions, constants by magnitude and, with a database, selectivities; hashed",
        SQLFeaturesConfig,
        "trellis_embed.sql_features:SQLFeatures",
        needs={"database": Need("database", optional=True)},
    )
    yield Component("ngrams", "character n-grams of the text, hashed", NgramsConfig, "trellis_embed.ngrams:Ngrams")
    yield Component(
        "sentence-transformers",
        "a sentence-embedding model from a directory or a hub, by transformers",
        SentenceTransformersConfig,
        "trellis_embed.sentence_transformers:SentenceTransformers",
    )
