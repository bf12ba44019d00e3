"""Supervised fine-tuning."""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_sft.config import SFTConfig


@hookimpl
def trellis_policy_optimizers() -> Iterable[Component]:
    """Return the optimizers of this plugin."""
    yield Component(
        name="sft",
        summary="supervised fine-tuning on the task's traces",
        config=SFTConfig,
        factory="trellis_sft.sft:SFT",
        capabilities=frozenset({"traces"}),
    )
