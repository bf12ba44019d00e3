"""Queries by the character n-grams of their text.

The text is normalised first: comments go, white space becomes one space, and letters outside of quotes are lower-case. An
n-gram that stands there c times counts √c, so that long lists of columns do not drown the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import sqrt

from trellis import Embedder
from trellis.sql.query import Query
from trellis_embed.config import NgramsConfig
from trellis_embed.hashing import hash_features, normalised

_PART = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<space>(?:\s|--[^\n]*|/\*.*?\*/)+)|(?P<other>.)""", re.DOTALL
)


class Ngrams(Embedder):
    """Hashed n-grams of the text."""

    Config = NgramsConfig

    def __init__(self, config: NgramsConfig) -> None:
        self.config = config

    @property
    def version(self) -> str:
        """The scheme, n and the dimension."""
        return f"ngrams-1-{self.config.n}-{self.config.dimension}"

    def embed(self, queries: Sequence[Query]) -> list[tuple[float, ...]]:
        """Return a vector for each query."""
        return [self._vector(normal_text(query.sql)) for query in queries]

    def _vector(self, text: str) -> tuple[float, ...]:
        n = self.config.n
        padded = f" {text} "
        counts = Counter(padded[start : start + n] for start in range(max(1, len(padded) - n + 1)))
        features = {piece: sqrt(count) for piece, count in counts.items()}
        return normalised(hash_features(features, self.config.dimension))


def normal_text(sql: str) -> str:
    """Return a query's text without comments, layout and upper case, quoted parts as they are."""
    written = []
    for part in _PART.finditer(sql):
        if part["space"]:
            written.append(" ")
        else:
            written.append(part["quoted"] or part["other"].lower())
    return "".join(written).strip()
