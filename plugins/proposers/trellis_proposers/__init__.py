"""Proposers: plan hints that seem worth measuring, for the query at hand.

`{use: arms}`, `{use: neighbours}`, `{use: moves}`, `{use: random}`, `{use: planner-cost}` and `{use: autosteer}` need nothing;
`{use: language-model, needs: {policy: …, task: …}}` asks a policy that can choose among texts; `{use: portfolio, needs:
{proposers: […]}}` shares the proposals between several by what each one's were worth.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_proposers.config import (
    ArmsConfig,
    MovesConfig,
    NeighboursConfig,
    RandomConfig,
)


@hookimpl
def trellis_proposers() -> Iterable[Component]:
    """Return the proposers of this plugin."""
    yield Component("arms", "Bao's switches for the whole query", ArmsConfig, "trellis_proposers.arms:Arms")
    yield Component(
        "neighbours",
        "the best hints of the most similar measured queries, carried over",
        NeighboursConfig,
        "trellis_proposers.neighbours:Neighbours",
    )
    yield Component(
        "moves",
        "small changes of the best hints so far: order, methods, scans, switches",
        MovesConfig,
        "trellis_proposers.moves:Moves",
    )
    yield Component("random", "random legal join orders", RandomConfig, "trellis_proposers.random_orders:RandomOrders")
