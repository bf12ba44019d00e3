"""A proposer that draws."""

from __future__ import annotations

from random import Random

from trellis.component import Config
from trellis.contracts.proposer import Proposal, Proposer, Situation
from trellis.sql.random_hints import random_hints


class DiceConfig(Config):
    """What it draws."""

    bushy: bool = True
    """Whether a join may have a join as its right input."""


class Dice(Proposer):
    """Random join orders."""

    Config = DiceConfig

    def __init__(self, config: DiceConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n random orders."""
        rng = Random(seed)
        drawn = [random_hints(situation.query, rng, bushy=self.config.bushy, scans=False) for _ in range(2 * n)]
        known = {tried.hints for tried in situation.tried}
        return [Proposal(hints, "dice") for hints in dict.fromkeys(drawn) if hints and hints not in known][:n]
