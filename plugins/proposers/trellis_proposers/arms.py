"""Arms: planner switches for the whole query, as Bao has them.

Marcus et al. 2021, "Bao: Making Learned Query Optimization Practical"; the arms are those of
https://github.com/learnedsystems/BaoForPostgreSQL, `pg_extension/bao_planner.h` (`set_arm_options`), of which a server uses the
first five by default.

Deliberate deviations: an arm turns off what Bao turns off and leaves the rest as the server has it, where Bao turns the rest on;
so arm 0 is the default plan, and not proposed. Which arm is best is not learnt here: a reward or a portfolio ranks them.
"""

from __future__ import annotations

from trellis import Proposal, Proposer, Situation
from trellis.sql.hints import PlanHints, Switch
from trellis_proposers.config import ArmsConfig
from trellis_proposers.picking import picked

HASH, MERGE, NEST = "hashjoin", "mergejoin", "nestloop"
SEQ, INDEX, ONLY = "seqscan", "indexscan", "indexonlyscan"

BAO: tuple[tuple[str, ...], ...] = (
    (),
    (NEST,),
    (MERGE, INDEX),
    (NEST, MERGE, INDEX),
    (MERGE,),
    (SEQ, INDEX),
    (SEQ, ONLY),
    (HASH, SEQ, INDEX),
    (NEST, MERGE, SEQ, INDEX),
    (MERGE, SEQ),
    (NEST, MERGE),
    (INDEX,),
    (NEST, INDEX),
    (MERGE, SEQ, ONLY),
    (HASH, MERGE, SEQ, ONLY),
    (HASH, ONLY),
    (HASH, MERGE, SEQ),
    (SEQ,),
    (HASH, SEQ, ONLY),
    (HASH, INDEX),
    (HASH, MERGE),
    (NEST, SEQ),
    (NEST, SEQ, INDEX),
    (MERGE, ONLY),
    (NEST, MERGE, SEQ, ONLY),
    (MERGE, SEQ, INDEX),
)
"""What each of Bao's arms turns off, by its number."""


class Arms(Proposer):
    """The arms in Bao's order."""

    Config = ArmsConfig

    def __init__(self, config: ArmsConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return the first n arms that were not tried; the seed changes nothing."""
        count = 5 if self.config.arms == "bao-5" else len(BAO)
        arms = (Proposal(arm(off), f"arms: {' '.join(('no', *off))}") for off in BAO[:count])
        return picked(arms, situation, n)


def arm(off: tuple[str, ...]) -> PlanHints:
    """Return the hints that turn these off, e.g. `("nestloop",)`."""
    return PlanHints(switches=tuple(Switch(f"enable_{name}", on=False) for name in off))
