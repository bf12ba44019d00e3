"""Searches over whole completions: one greedy completion, votes on the answer, and the best of n by reward."""

from collections.abc import Iterable

from trellis.component import Component
from trellis.hooks import hookimpl
from trellis_best_of_n.config import BestOfNConfig, GreedyConfig, MajorityConfig, WeightedMajorityConfig


@hookimpl
def trellis_search_algorithms() -> Iterable[Component]:
    """Return the searches."""
    yield Component(
        "greedy", "one completion, the most probable token each time", GreedyConfig, f"{__name__}.greedy:Greedy"
    )
    yield Component(
        "majority",
        "n samples vote on the answer (self-consistency)",
        MajorityConfig,
        f"{__name__}.majority:Majority",
        capabilities=frozenset({"sampling"}),
    )
    yield Component(
        "weighted-majority",
        "n samples vote on the answer, each vote weighted by the reward",
        WeightedMajorityConfig,
        f"{__name__}.weighted_majority:WeightedMajority",
        capabilities=frozenset({"sampling", "reward"}),
    )
    yield Component(
        "best-of-n",
        "n samples, the one the reward likes best",
        BestOfNConfig,
        f"{__name__}.best_of_n:BestOfN",
        capabilities=frozenset({"sampling", "reward"}),
    )
