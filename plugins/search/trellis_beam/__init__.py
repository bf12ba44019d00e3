"""Beam search over steps, steered by a reward."""

from collections.abc import Iterable

from trellis.component import Component
from trellis.hooks import hookimpl
from trellis_beam.config import BeamConfig, DvtsConfig


@hookimpl
def trellis_search_algorithms() -> Iterable[Component]:
    """Return the searches."""
    yield Component(
        "beam",
        "grows the best prefixes step by step",
        BeamConfig,
        f"{__name__}.beam:Beam",
        capabilities=frozenset({"sampling", "reward"}),
    )
    yield Component(
        "dvts",
        "grows independent subtrees, each by its best step (diverse verifier tree search)",
        DvtsConfig,
        f"{__name__}.dvts:Dvts",
        capabilities=frozenset({"sampling", "reward"}),
    )
