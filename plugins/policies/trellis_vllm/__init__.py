"""Policies that sample on a vLLM engine."""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_vllm.config import RolloutsConfig, VLLMConfig


@hookimpl
def trellis_policies() -> Iterable[Component]:
    """Return the policies of this plugin."""
    yield Component(
        name="vllm",
        summary="a causal language model served by vLLM, from a directory or the hub: for evaluation and search",
        config=VLLMConfig,
        factory="trellis_vllm.policy:VLLMPolicy",
        capabilities=frozenset({"choices", "grammar", "log-probs"}),
        extra="vllm",
        modules=("vllm",),
    )
    yield Component(
        name="vllm-rollouts",
        summary="a policy being trained, whose samples come from a vLLM engine that is given its weights",
        config=RolloutsConfig,
        factory="trellis_vllm.rollouts:VLLMRollouts",
        needs={"trainer": Need("policy", capabilities=frozenset({"trainable"}))},
        capabilities=frozenset({"trainable", "choices", "grammar", "log-probs"}),
        extra="vllm",
        modules=("vllm",),
    )
