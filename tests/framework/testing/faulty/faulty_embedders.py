"""Embedders with one fault each."""

import math
import os
from hashlib import blake2b

from faults import breaks

from trellis import Config, Embedder


class WordsConfig(Config):
    """Nothing to set."""


class Words(Embedder):
    """Words, hashed. Nothing is wrong with this one."""

    Config = WordsConfig
    version = "words-1"

    def __init__(self, config):
        self.config = config

    def embed(self, queries):
        return [self.vector(query) for query in queries]

    def vector(self, query):
        places = [0.0] * 16
        for word in query.sql.split():
            places[self.place(word) % 16] += 1
        length = math.hypot(*places)
        return tuple(value / length for value in places)

    def place(self, word):
        return blake2b(word.encode()).digest()[0]


@breaks("every-query-has-a-vector", "embedder")
class ReturnsLists(Words):
    def embed(self, queries):
        return [list(vector) for vector in super().embed(queries)]


@breaks("vectors-have-length-one", "embedder")
class CountsWords(Words):
    def vector(self, query):
        return tuple(value * len(query.sql) for value in super().vector(query))


@breaks("vectors-do-not-depend-on-company-or-time", "embedder")
class DependsOnTheFirst(Words):
    def embed(self, queries):
        vectors = super().embed(queries)
        turned = len(queries) > 1 and queries[0].sql.startswith("SELECT 1")
        return [vector[1:] + vector[:1] for vector in vectors] if turned else vectors


@breaks("vectors-are-the-same-in-another-process", "embedder")
class HashesPerProcess(Words):
    def place(self, word):
        return blake2b(f"{os.getpid()}{word}".encode()).digest()[0]


@breaks("the-version-names-the-vectors", "embedder")
class HasNoVersion(Words):
    version = ""
