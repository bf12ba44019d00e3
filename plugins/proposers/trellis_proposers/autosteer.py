"""Switches merged greedily: first each that matters for the query alone, then unions of those that made it faster.

Anneser et al. 2023, "AutoSteer: Learned Query Optimization for Any SQL Database", https://www.vldb.org/pvldb/vol16/p3515-anneser.pdf
(query span, and greedy merging of hint sets).

Deliberate deviations: the query span is what changes the plan when it is turned off in the default plan (there: found by turning
off, one after the other, what the plan then uses); a set is kept when it was measured to be faster, instead of by a predictor.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from trellis import Proposal, Proposer, Situation
from trellis.sql.hints import SWITCHES, PlanHints, Switch
from trellis_proposers.config import AutosteerConfig
from trellis_proposers.picking import picked, reached


class Autosteer(Proposer):
    """Single switches, then unions of faster sets, those of the fastest first."""

    Config = AutosteerConfig

    def __init__(self, config: AutosteerConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n sets of switches; the seed changes nothing."""
        return picked(self._sets(situation), situation, n)

    def _sets(self, situation: Situation) -> Iterator[Proposal]:
        for name in SWITCHES:
            hints = _off(frozenset((name,)))
            plan = situation.plan_of(hints)
            # Without a planner to ask, every switch may matter.
            if plan is None or plan.shape() != situation.plan.shape():
                yield Proposal(hints, f"autosteer: no {name.removeprefix('enable_')}")
        faster = {off: one.speedup for one in situation.tried if reached(one) > 1 and (off := _turned_off(one.hints))}
        pairs = sorted(combinations(faster, 2), key=lambda pair: -faster[pair[0]] * faster[pair[1]])
        for one, other in pairs:
            union = one | other
            if len(union) <= self.config.largest:
                gains = " and ".join(f"{faster[each]:.2g}x" for each in (one, other))
                yield Proposal(_off(union), f"autosteer: merged of {gains}")


def _off(names: frozenset[str]) -> PlanHints:
    return PlanHints(switches=tuple(Switch(name, on=False) for name in sorted(names)))


def _turned_off(hints: PlanHints) -> frozenset[str] | None:
    """Return what hints turn off; None where they say anything else."""
    if hints.scans or hints.joins or hints.leading or any(switch.on for switch in hints.switches):
        return None
    return frozenset(switch.name for switch in hints.switches)
