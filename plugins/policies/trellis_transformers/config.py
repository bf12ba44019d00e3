"""Configuration of the transformers policy."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trellis import Config


class CharacterTokenizer(Config):
    """A vocabulary made here: every ASCII character is a token, any other character is its UTF-8 bytes."""

    words: tuple[str, ...] = ()
    """Texts that are one token each; where several fit, the longest is taken."""
    numbers: int = Field(default=0, ge=0, le=100_000)
    """The numbers 0, 1, … below this are one token each."""


class TransformersConfig(Config):
    """Where the model comes from, and how it runs."""

    model: str | None = None
    """A directory or hub id, which brings weights and tokenizer; None makes a model from scratch as `init` and
    `tokenizer` say."""
    init: Literal["tiny"] | dict[str, bool | int | float | str] = "tiny"
    """Without `model`, the model made from scratch: "tiny" (GPT-2, 2 layers of 64), or an `AutoConfig` of any causal model,
    e.g. `{model_type: gpt2, n_layer: 4, n_embd: 128}`. The vocabulary's size is filled in."""
    tokenizer: Literal["characters"] | CharacterTokenizer = "characters"
    """Without `model`, the tokenizer of the model made from scratch."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the weights are held in."""
    shard: bool = False
    """On several processes (torchrun): each holds a share of the weights, gradients and AdamW's moments, for a model that does
    not fit where all of them would be (FSDP2); while a process samples it holds all weights. Without learned rewards and KL,
    which copy the policy."""
    batch_tokens: int = Field(default=32_768, ge=1)
    """At most so many tokens (rows x longest row) go through the model at once; memory grows with it."""
    prefix_cache_tokens: int = Field(default=65_536, ge=0)
    """Keys and values of so many tokens are kept between calls for prefixes that are extended again; 0 keeps none."""
    cpu_threads: int | None = Field(default=None, ge=1)
    """Threads that torch uses on a CPU, in the whole process; models of this size are fastest on 1. Torch's own choice
    when left out."""
    seed: int | None = Field(default=None, ge=0)
    """Makes the first weights of a model made from scratch; the pipeline's seed when left out."""
    device: str | None = None
    """"cpu", "cuda", "cuda:1", "mps" or "auto"; the pipeline's device when left out."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.model is not None and (self.init != "tiny" or self.tokenizer != "characters"):
            raise ValueError("'init' and 'tokenizer' make a model from scratch: leave them out beside 'model'")
        return self
