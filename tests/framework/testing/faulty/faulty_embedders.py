"""Embedders with one fault each."""

from faults import breaks

from trellis import Config, Embedder


class LettersConfig(Config):
    lower: bool = True
    """Whether upper and lower case are one."""


class Letters(Embedder):
    """How often letters stand in the text. Nothing is wrong with this one."""

    Config = LettersConfig
    version = "letters-1"

    def __init__(self, config):
        self.config = config

    def embed(self, queries):
        return [self.vector(query.sql.lower() if self.config.lower else query.sql) for query in queries]

    def vector(self, text):
        counts = [text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
        length = sum(count * count for count in counts) ** 0.5 or 1.0
        return tuple(count / length for count in counts)


@breaks("vectors-are-of-length-one", "embedder")
class ForgetsToDivide(Letters):
    def vector(self, text):
        return tuple(float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz")


@breaks("vectors-do-not-depend-on-the-batch", "embedder")
class TurnsWithTheBatch(Letters):
    def embed(self, queries):
        vectors = super().embed(queries)
        shift = len(vectors) - 1
        return [(*vector[shift:], *vector[:shift]) for vector in vectors]


@breaks("vectors-are-the-same-in-every-process", "embedder")
class HashesByPython(Letters):
    def vector(self, text):
        places = [hash(word) % 64 for word in text.split()]
        length = sum(places.count(place) ** 2 for place in range(64)) ** 0.5
        return tuple(places.count(place) / length for place in range(64))


@breaks("version-says-something", "embedder")
class HasNoVersion(Letters):
    version = ""
