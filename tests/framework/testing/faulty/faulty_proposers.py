"""Proposers with one fault each."""

from dataclasses import replace

from faults import breaks

from trellis import Proposal
from trellis.sql import PlanHints, parse_hints
from trellis.testing.material.dice import Dice

LEARNS = frozenset({"learns"})


class Ranked(Dice):
    """Shorter texts first, and single switches that gained something elsewhere. Nothing is wrong with this one."""

    def propose(self, situation, n, *, seed=0):
        drawn = super().propose(situation, n, seed=seed)
        scored = [replace(one, score=-float(len(str(one.hints)))) for one in drawn]
        return sorted(scored, key=lambda one: (-one.score, str(one.hints)))


class Learner(Dice):
    """Remembers the best hints of each query, and proposes them again to others. Nothing is wrong with this one."""

    def __init__(self, config):
        super().__init__(config)
        self.gains = 0

    def learn(self, tried, queries, *, seed=0):
        self.gains = sum(one.speedup > 1 for measured in tried.values() for one in measured)
        return {"gains": float(self.gains)}

    def propose(self, situation, n, *, seed=0):
        return super().propose(situation, n, seed=seed + self.gains)


@breaks("proposals-fit", "proposer")
class NamesNobody(Dice):
    def propose(self, situation, n, *, seed=0):
        hints = [parse_hints("Leading((a nobody))"), parse_hints("Leading((nobody a))")]
        known = {tried.hints for tried in situation.tried}
        return [Proposal(one, "wrong") for one in hints if one not in known][:n]


@breaks("proposals-fit", "proposer")
class ProposesTheDefault(Dice):
    def propose(self, situation, n, *, seed=0):
        known = {tried.hints for tried in situation.tried}
        return [Proposal(PlanHints(), "default")][:n] if PlanHints() not in known else []


@breaks("proposals-differ", "proposer")
class RepeatsItself(Dice):
    def propose(self, situation, n, *, seed=0):
        return [one for one in super().propose(situation, n, seed=seed) for _ in range(2)][:n]


@breaks("what-was-tried-is-not-proposed", "proposer")
class ForgetsWhatWasTried(Dice):
    def propose(self, situation, n, *, seed=0):
        return super().propose(replace(situation, tried=()), n, seed=seed)


@breaks("at-most-n-are-proposed", "proposer")
class SaysTooMuch(Dice):
    def propose(self, situation, n, *, seed=0):
        return super().propose(situation, n + 1, seed=seed)


@breaks("proposals-follow-situation-and-seed", "proposer")
class DrawsOn(Dice):
    calls = 0

    def propose(self, situation, n, *, seed=0):
        self.calls += 1
        return super().propose(situation, n, seed=seed + self.calls)


@breaks("the-best-comes-first", "proposer")
class SavesTheBestForLast(Ranked):
    def propose(self, situation, n, *, seed=0):
        return super().propose(situation, n, seed=seed)[::-1]


@breaks("proposals-name-their-source", "proposer")
class SaysNotWhy(Dice):
    def propose(self, situation, n, *, seed=0):
        return [replace(one, source=": for some reason") for one in super().propose(situation, n, seed=seed)]


@breaks("learning-depends-on-what-was-measured", "proposer", capabilities=LEARNS)
class AddsUp(Learner):
    def learn(self, tried, queries, *, seed=0):
        before = self.gains
        super().learn(tried, queries, seed=seed)
        self.gains += before + 1
        return {}
