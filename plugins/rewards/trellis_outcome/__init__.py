"""Rewards that look at how a trajectory ended."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_outcome.config import VerifierConfig


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
