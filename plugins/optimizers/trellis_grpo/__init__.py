"""Group relative policy optimization."""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_grpo.config import GRPOConfig


@hookimpl
def trellis_policy_optimizers() -> Iterable[Component]:
    """Return the optimizers of this plugin."""
    yield Component(
        name="grpo",
        summary="group relative policy optimization on outcome and process rewards",
        config=GRPOConfig,
        factory="trellis_grpo.grpo:GRPO",
        capabilities=frozenset({"process-reward"}),
    )
