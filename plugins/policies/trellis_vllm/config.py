"""Configuration of the policies that sample on vLLM."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trellis import Config


class EngineConfig(Config):
    """How the engine runs."""

    tensor_parallel_size: int = Field(default=1, ge=1)
    """Over how many devices each copy of the model is cut."""
    data_parallel_size: int = Field(default=1, ge=1)
    """How many copies of the model share the work, each in a process and on devices of its own."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """The share of a device's memory that weights, activations, and keys and values may take; less where a trainer is on the
    same device. Without `kv_cache_gb`, keys and values take what is left of it."""
    kv_cache_gb: float | None = Field(default=None, gt=0)
    """Memory for keys and values on each device, in GiB. Left out: what `gpu_memory_utilization` leaves; on a CPU, 1, or what
    vLLM's own `VLLM_CPU_KVCACHE_SPACE` says."""
    max_model_len: int | None = Field(default=None, ge=2)
    """At most so many tokens, prompt and steps together; the model's own limit when left out."""
    enforce_eager: bool = False
    """Whether the model runs without compilation and CUDA graphs: it starts sooner and samples slower."""
    prefix_caching: bool = True
    """Whether keys and values are kept for prefixes that are extended again, as every search does."""
    seed: int | None = Field(default=None, ge=0)
    """The engine's own seed; the pipeline's when left out. Samples depend on the seeds of their requests alone."""


class VLLMConfig(EngineConfig):
    """Which model, and how the engine runs."""

    model: str = Field(min_length=1)
    """Required: a directory or hub id, which brings weights and tokenizer."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the weights are held in, and computed in; "bfloat16" on a GPU, unless numbers are to be those of another policy."""
    chat: bool | None = None
    """Whether a prompt is put to the model as a user's turn in its tokenizer's chat template, the steps are the assistant's,
    and the token that ends the assistant's turn ends them. Left out: if there is a template."""
    system_prompt: str | None = Field(default=None, min_length=1)
    """The system's turn before the user's."""
    template_options: dict[str, bool | int | float | str] = {}
    """What the chat template is told besides, e.g. `{enable_thinking: false}` for Qwen3."""

    @model_validator(mode="after")
    def _chat_fits(self) -> Self:
        given = [name for name in ("system_prompt", "template_options") if getattr(self, name)]
        if given and self.chat is False:
            raise ValueError(f"'{given[0]}' is for the chat template, and 'chat' is false: leave it out")
        return self


class RolloutsConfig(EngineConfig):
    """How the engine runs, and how it is given the trainer's weights."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """What the engine holds its weights in, and computes in; what the trainer computes in when left out."""
    sync: Literal["auto", "transfer", "reload", "rebuild"] = "auto"
    """How changed weights reach the engine. "transfer": vLLM's weight transfer in the memory of the GPU that trainer and engine
    share. "reload": the engine reads them from a temporary directory, in place, whatever the number of its devices. "rebuild":
    a new engine. "auto": "transfer" where trainer and engine share one GPU, "rebuild" on a CPU, where vLLM's reloading is
    wrong for some models, else "reload"."""
    probe_prompts: int = Field(default=4, ge=1)
    """After every sync, so many fixed prompts (the first ones sampled) are scored by trainer and engine."""
    probe_tolerance: float | None = Field(default=None, gt=0)
    """The run stops where their log-probabilities differ by more than this, in nats, on average over the tokens. Left out:
    0.001 where both compute in float32, else 0.1."""
