"""Rewards that look at how a trajectory ended, or learn from it; and the bounds between which a reward lies."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis.fitting.config import NEEDS
from trellis_outcome.config import OracleConfig, ORMConfig, OutcomeValueConfig, RandomConfig, VerifierConfig


@hookimpl
def trellis_reward_models() -> Iterable[Component]:
    """Return the rewards of this plugin."""
    yield Component(
        name="verifier",
        summary="the task's own verdict, on the last step; knows the truth",
        config=VerifierConfig,
        factory="trellis_outcome.verifier:Verifier",
        needs={"task": Need("task")},
    )
    yield Component(
        name="orm",
        summary="an outcome reward model: learned from the outcome of whole rollouts, at their last step",
        config=ORMConfig,
        factory="trellis_outcome.orm:ORM",
        needs=NEEDS,
        capabilities=frozenset({"learned"}),
    )
    yield Component(
        name="outcome-value",
        summary="the value of a prefix: the probability that a rollout which begins with it is correct, learned from outcomes",
        config=OutcomeValueConfig,
        factory="trellis_outcome.value:OutcomeValue",
        needs=NEEDS,
        capabilities=frozenset({"learned"}),
    )
    yield Component(
        name="oracle",
        summary="the task's step oracle: 1 while the problem can still be solved, else 0; an upper bound",
        config=OracleConfig,
        factory="trellis_outcome.oracle:Oracle",
        needs={"task": Need("task", capabilities=frozenset({"step-oracle"}))},
    )
    yield Component(
        name="random",
        summary="a number drawn for each prefix, the same whenever it is asked for; a lower bound",
        config=RandomConfig,
        factory="trellis_outcome.random_score:RandomScore",
    )
