"""Features hashed into a vector of fixed length, the same in every process.

A feature's name decides its place and its sign (Weinberger et al. 2009, "Feature hashing for large scale multitask learning",
equation 2), so that features which fall on one place cancel as often as they add up: the dot product of two vectors is, in
expectation, that of their features.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from math import sqrt


@lru_cache(maxsize=1 << 16)
def _hashed(name: str) -> int:
    # Not `hash`: it differs from process to process.
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def hash_features(features: Mapping[str, float], dimension: int) -> list[float]:
    """Return the vector of features, of length `dimension`, not normalised."""
    vector = [0.0] * dimension
    for name, value in features.items():
        hashed = _hashed(name)
        vector[(hashed >> 1) % dimension] += value if hashed & 1 else -value
    return vector


def normalised(vector: list[float]) -> tuple[float, ...]:
    """Return a vector with length 1; one of zeros stays as it is."""
    length = sqrt(sum(value * value for value in vector))
    return tuple(value / length for value in vector) if length > 0 else tuple(vector)
