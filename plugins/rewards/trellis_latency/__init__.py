"""Rewards of query plans without adversaries: a learned prediction of the latency, and the planner's own cost.

Baselines for the AIRL reward, with its interface: they put proposals in order (stage `evolve`) and steer searches over
join decisions.
"""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_latency.config import LatencyPredictorConfig, PlannerCostConfig


@hookimpl
def trellis_reward_models() -> Iterable[Component]:
    """Return the rewards of this plugin."""
    yield Component(
        name="latency-predictor",
        summary="how much faster than the default a plan will run: learned from all measured plans",
        config=LatencyPredictorConfig,
        factory="trellis_latency.predictor:LatencyPredictor",
        needs={
            "policy": Need("policy", capabilities=frozenset({"trainable"})),
            "task": Need("task", optional=True),
        },
        capabilities=frozenset({"learned"}),
    )
    yield Component(
        name="plan-cost",
        summary="the planner's own cost of a plan, against the default's: what it thinks of join decisions without running them",
        config=PlannerCostConfig,
        factory="trellis_latency.plan_cost:PlanCost",
        needs={
            "task": Need("task", capabilities=frozenset({"legal-steps", "plan-hints"})),
            "database": Need("database"),
        },
    )
