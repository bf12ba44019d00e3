"""Particle filtering: a population of prefixes, resampled by their rewards."""

from collections.abc import Iterable

from trellis.component import Component
from trellis.hooks import hookimpl
from trellis_particle.config import ParticleConfig


@hookimpl
def trellis_search_algorithms() -> Iterable[Component]:
    """Return the search."""
    yield Component(
        "particle",
        "a population of prefixes, grown a step at a time and resampled by reward",
        ParticleConfig,
        f"{__name__}.particle:Particle",
        capabilities=frozenset({"sampling", "reward"}),
    )
