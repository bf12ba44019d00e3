"""Random legal join orders, the baseline that everything else has to beat.

The methods are left to the planner by default: under a given order it mostly picks them well.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from trellis import Proposal, Proposer, Situation
from trellis.sql.random_hints import random_hints
from trellis_proposers.config import RandomConfig
from trellis_proposers.picking import picked

DRAWS = 20
"""How often it draws for each proposal asked for: small queries have few orders."""


class RandomOrders(Proposer):
    """Draws from all legal join orders without needless cross products."""

    Config = RandomConfig

    def __init__(self, config: RandomConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n random hints; fewer where the query has few."""
        return picked(self._drawn(situation, DRAWS * n, Random(seed)), situation, n)

    def _drawn(self, situation: Situation, count: int, rng: Random) -> Iterator[Proposal]:
        c = self.config
        for _ in range(count):
            hints = random_hints(
                situation.query, rng, catalog=situation.catalog, bushy=c.bushy, methods=c.methods, scans=c.scans
            )
            yield Proposal(hints, "random")
