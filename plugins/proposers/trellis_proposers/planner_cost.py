"""Join orders that the planner itself finds cheapest, among random ones and their neighbours.

The planner costs a whole plan under each order without running it: two-phase optimisation (Ioannidis and Kang 1990, "Randomized
algorithms for optimizing large join queries"), random starts and then descent. It finds what the planner's own search left out
(on large queries that is most), and is the baseline for learned rewards: the ranking is the planner's, with all of its mistakes
about cardinalities.
"""

from __future__ import annotations

from random import Random

from trellis import Proposal, Proposer, Situation
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan
from trellis.sql.random_hints import random_hints
from trellis_proposers.config import PlannerCostConfig
from trellis_proposers.moves import orders
from trellis_proposers.picking import picked


class PlannerCost(Proposer):
    """The cheapest orders found; of those that the planner turns into one plan, the first."""

    Config = PlannerCostConfig

    def __init__(self, config: PlannerCostConfig) -> None:
        self.config = config

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n orders by rising cost, their score its negative; nothing where there is no planner to ask."""
        c, rng = self.config, Random(seed)
        plans: dict[PlanHints, Plan] = {}

        def ask(hints: PlanHints) -> float:
            if hints not in plans and hints and (plan := situation.plan_of(hints)) is not None:
                plans[hints] = plan
            return plans[hints].cost if hints in plans else float("inf")

        drawn = [
            random_hints(situation.query, rng, bushy=c.bushy, methods=False, scans=False) for _ in range(c.samples)
        ]
        best = min(drawn, key=ask)
        for _ in range(c.rounds):
            changed = list(orders(best, situation, cross_products=False))
            cheapest = min(rng.sample(changed, min(c.width, len(changed))), key=ask, default=best)
            if ask(cheapest) >= ask(best):
                break
            best = cheapest
        known = {situation.plan.shape()}
        known |= {plan.shape() for tried in situation.tried if (plan := situation.plan_of(tried.hints)) is not None}
        found: list[Proposal] = []
        for hints, plan in sorted(plans.items(), key=lambda pair: (pair[1].cost, str(pair[0]))):
            if plan.shape() not in known:
                known.add(plan.shape())
                found.append(Proposal(hints, f"planner-cost: {plan.cost:.6g}", -plan.cost))
        return picked(found, situation, n)
