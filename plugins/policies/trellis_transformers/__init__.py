"""Policies that run on Hugging Face transformers."""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_transformers.config import TransformersConfig


@hookimpl
def trellis_policies() -> Iterable[Component]:
    """Return the policies of this plugin."""
    yield Component(
        name="transformers",
        summary="any causal language model of transformers: from scratch, from a directory, or from the hub",
        config=TransformersConfig,
        factory="trellis_transformers.policy:TransformersPolicy",
        capabilities=frozenset({"trainable", "log-probs", "choices", "grammar"}),
        capability_extras={"grammar": ("grammar", "xgrammar")},
    )
