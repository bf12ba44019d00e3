"""The policy's own likelihood as a reward: free, and the baseline a learned reward has to beat."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_likelihood.config import LogPiConfig


@hookimpl
def trellis_reward_models() -> Iterable[Component]:
    """Return the rewards of this plugin."""
    yield Component(
        name="log-pi",
        summary="the policy's own log-probability of the steps; costs nothing",
        config=LogPiConfig,
        factory="trellis_likelihood.log_pi:LogPi",
        needs={"policy": Need("policy", capabilities=frozenset({"log-probs"}))},
    )
