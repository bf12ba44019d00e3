"""Several proposers, each with a share of the proposals that follows what its proposals were worth.

A proposal that was measured is worth what it added to what was known of its query: log2 of its speed-up over the best before it,
the default included, or 0 where it was not faster: a bad one costs no more than its measurement. Without that, who changes what
others have found would be paid for what they found, and speak first on a query of which nothing is known. A proposer's worth is
the mean of its own, shrunk to the mean of all. Whose a measured proposal was is told by its `source`, which begins with the
proposer's name; so shares come from what was measured alone, and are the same after a restart.

Proposals are merged by smooth weighted round-robin (nginx, `ngx_http_upstream_round_robin.c`): every turn each proposer gains
its share, and who has most gives the next proposal that nobody gave before, and pays what all have gained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log2
from random import Random

from trellis import Proposal, Proposer, Situation, Tried
from trellis.sql.hints import PlanHints
from trellis.sql.query import Query
from trellis_proposers.config import PortfolioConfig
from trellis_proposers.picking import picked, reached


class Portfolio(Proposer):
    """Merges what its proposers say; the one that was worth most speaks first and most often."""

    Config = PortfolioConfig

    def __init__(self, config: PortfolioConfig, *, proposers: Mapping[str, Proposer]) -> None:
        self.config = config
        self.proposers = proposers
        self._learnt: dict[str, Sequence[Tried]] = {}

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n proposals, their sources beginning with the proposers' names."""
        return picked(self._merged(situation, n, seed), situation, n)

    def learn(
        self, tried: Mapping[str, Sequence[Tried]], queries: Mapping[str, Query], *, seed: int = 0
    ) -> Mapping[str, float]:
        """Let each proposer learn, and return its metrics and its share."""
        metrics: dict[str, float] = {}
        for name, proposer in self.proposers.items():
            learnt = proposer.learn(tried, queries, seed=_seed(seed, name))
            metrics |= {f"{name}/{metric}": value for metric, value in learnt.items()}
        self._learnt = {queries[key].sql: measured for key, measured in tried.items() if key in queries}
        shares = self.shares(self._learnt.values())
        return metrics | {f"{name}/share": share for name, share in shares.items()}

    def shares(self, measured: Iterable[Sequence[Tried]]) -> dict[str, float]:
        """Return each proposer's share of the proposals, their sum 1.

        Args:
            measured: Of each query what was measured, in order.
        """
        gains: dict[str, list[float]] = {name: [] for name in self.proposers}
        for tried in measured:
            best = 1.0
            for one in tried:
                for name in {*one.source.split(": ")} & gains.keys():
                    gains[name].append(log2(max(reached(one) / best, 1.0)))
                best = max(best, reached(one))
        everything = [gain for own in gains.values() for gain in own]
        mean = sum(everything) / len(everything) if everything else 0.0
        trust = self.config.trust
        worth = {name: (sum(own) + trust * mean) / (len(own) + trust) for name, own in gains.items()}
        total = sum(worth.values())
        even = 1 / len(worth)
        least = self.config.least
        return {
            name: even if total == 0 else least * even + (1 - least) * value / total for name, value in worth.items()
        }

    def _merged(self, situation: Situation, n: int, seed: int) -> Iterator[Proposal]:
        others = [tried for sql, tried in self._learnt.items() if sql != situation.query.sql]
        here = situation.tried or self._learnt.get(situation.query.sql, ())
        shares = self.shares([*others, here])
        credit = dict.fromkeys(shares, 0.0)
        said: dict[str, Iterator[Proposal]] = {}
        given: set[PlanHints] = set()
        while credit:
            for name in credit:
                credit[name] += shares[name]
            name = max(credit, key=lambda each: (credit[each], shares[each]))
            if name not in said:
                said[name] = iter(self.proposers[name].propose(situation, n, seed=_seed(seed, name)))
            proposal = next((one for one in said[name] if one.hints not in given), None)
            if proposal is None:
                del credit[name]
                continue
            credit[name] -= sum(shares[each] for each in credit)
            given.add(proposal.hints)
            named = proposal.source.split(": ")[0] == name
            # Scores of different proposers do not compare.
            yield Proposal(proposal.hints, proposal.source if named else f"{name}: {proposal.source}")


def _seed(seed: int, name: str) -> int:
    return Random(f"{seed}/{name}").getrandbits(32)
