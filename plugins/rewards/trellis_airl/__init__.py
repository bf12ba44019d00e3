"""Adversarial inverse reinforcement learning over reasoning steps."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis.fitting.config import NEEDS
from trellis_airl.config import AIRLConfig


@hookimpl
def trellis_reward_models() -> Iterable[Component]:
    """Return the rewards of this plugin."""
    yield Component(
        name="airl",
        summary="a step reward learned from correct traces by telling them from the policy's own (AIRL)",
        config=AIRLConfig,
        factory="trellis_airl.airl:AIRL",
        needs={
            **NEEDS,
            "task": Need("task", optional=True, capabilities=frozenset({"legal-steps"})),
            "experts": Need("task", optional=True, capabilities=frozenset({"traces"})),
        },
        capabilities=frozenset({"learned"}),
    )
