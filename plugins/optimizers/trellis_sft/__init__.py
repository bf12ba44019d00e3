"""Supervised fine-tuning, on given traces and on the policy's own correct rollouts."""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_sft.config import RFTConfig, SFTConfig


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
    yield Component(
        name="rft",
        summary="rejection-sampling fine-tuning: rounds of training on the policy's own correct rollouts",
        config=RFTConfig,
        factory="trellis_sft.rft:RFT",
    )
