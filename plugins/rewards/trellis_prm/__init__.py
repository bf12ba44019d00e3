"""Process rewards that need no person's labels: from completions sampled at each step, and implicit in a language model."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis.fitting.config import NEEDS
from trellis_prm.config import ImplicitConfig, MonteCarloConfig


@hookimpl
def trellis_reward_models() -> Iterable[Component]:
    """Return the rewards of this plugin."""
    yield Component(
        name="monte-carlo",
        summary="a process reward model on Monte-Carlo labels: how often the policy solves the problem from a step on",
        config=MonteCarloConfig,
        factory="trellis_prm.monte_carlo:MonteCarlo",
        needs={**NEEDS, "task": Need("task")},
        capabilities=frozenset({"learned"}),
    )
    yield Component(
        name="implicit",
        summary="the process reward implicit in a language model trained on outcomes: a log-ratio to its first state",
        config=ImplicitConfig,
        factory="trellis_prm.implicit:ImplicitPRM",
        needs=NEEDS,
        capabilities=frozenset({"learned"}),
    )
