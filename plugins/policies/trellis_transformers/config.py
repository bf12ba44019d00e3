"""Configuration of the transformers policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from trellis import Config


class CharacterTokenizer(Config):
    """A vocabulary made here: every ASCII character is a token, any other character is its UTF-8 bytes."""

    words: tuple[str, ...] = ()
    """Texts that are one token each; where several fit, the longest is taken."""
    numbers: int = Field(default=0, ge=0, le=100_000)
    """The numbers 0, 1, … below this are one token each."""


class LoRA(Config):
    """A low-rank change of the weights that is learned in their place (https://arxiv.org/abs/2106.09685)."""

    r: int = Field(default=16, ge=1)
    """The rank of the change of each weight matrix."""
    alpha: int = Field(default=32, ge=1)
    """The change is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of what goes into the adapter, in supervised fine-tuning and the training of rewards."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which modules it changes: all linear ones but the language-model head, or those of these names, e.g.
    `[q_proj, v_proj]`."""


class TransformersConfig(Config):
    """Where the model comes from, and how it runs."""

    model: str | None = None
    """A directory or hub id, which brings weights and tokenizer; None makes a model from scratch as `init` and
    `tokenizer` say. The directory of an adapter (as `lora` saves it) is its base model with the adapter merged in."""
    init: Literal["tiny"] | dict[str, bool | int | float | str] = "tiny"
    """Without `model`, the model made from scratch: "tiny" (GPT-2, 2 layers of 64), or an `AutoConfig` of any causal model,
    e.g. `{model_type: gpt2, n_layer: 4, n_embd: 128}`. The vocabulary's size is filled in."""
    tokenizer: Literal["characters"] | CharacterTokenizer = "characters"
    """Without `model`, the tokenizer of the model made from scratch."""
    chat: bool | None = None
    """Whether a prompt is put to the model as a user's turn in its tokenizer's chat template, the steps are the assistant's,
    and the token that ends the assistant's turn ends them. Left out: if there is a template."""
    system_prompt: str | None = Field(default=None, min_length=1)
    """The system's turn before the user's."""
    template_options: dict[str, bool | int | float | str] = {}
    """What the chat template is told besides, e.g. `{enable_thinking: false}` for Qwen3."""
    lora: LoRA | None = None
    """Train an adapter in place of the weights (`{}` takes its defaults; wants `trellis[lora]`); checkpoints hold the
    adapter alone, and a learned reward shares the weights with the policy and has an adapter of its own."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the weights are held in, and computed in. An adapter is float32 in any case; without one, training takes float32."""
    attention: Literal["sdpa", "flash_attention_2", "eager"] | None = None
    """How attention is computed; transformers' own choice when left out, which is "sdpa" where the model can."""
    gradient_checkpointing: bool = False
    """Whether training keeps each layer's input only and computes the layer again for its gradient: a third slower, for
    far longer batches."""
    shard: bool = False
    """On several processes (torchrun): each holds a share of the weights, gradients and AdamW's moments, for a model that does
    not fit where all of them would be (FSDP2); while a process samples it holds all weights. Without learned rewards and KL,
    which copy the policy, and without `lora`; a process's share of a training batch goes through at once, whatever
    `batch_tokens` says."""
    batch_tokens: int = Field(default=32_768, ge=1)
    """At most so many tokens (rows x longest row) go through the model at once; memory grows with it. Training cuts its
    batches into parts of like length that keep to it, with the same result; each part but one goes through twice. Where
    memory runs out, it is halved for the rest of the run, apart for training and for sampling."""
    prefix_cache_tokens: int = Field(default=65_536, ge=0)
    """Keys and values of so many tokens are kept between calls for prefixes that are extended again; 0 keeps none."""
    cpu_threads: int | None = Field(default=None, ge=1)
    """Threads that torch uses on a CPU, in the whole process; models of this size are fastest on 1. Torch's own choice
    when left out."""
    seed: int | None = Field(default=None, ge=0)
    """Makes the first weights of a model made from scratch, and of an adapter; the pipeline's seed when left out."""
    device: str | None = None
    """"cpu", "cuda", "cuda:1", "mps" or "auto"; the pipeline's device when left out."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.model is not None and (self.init != "tiny" or self.tokenizer != "characters"):
            raise ValueError("'init' and 'tokenizer' make a model from scratch: leave them out beside 'model'")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.attention == "flash_attention_2" and self.dtype == "float32":
            raise ValueError("'attention: flash_attention_2' computes in half precision: set 'dtype: bfloat16'")
        given = [name for name in ("system_prompt", "template_options") if getattr(self, name)]
        if given and (self.chat is False or self.model is None):
            why = "'chat' is false" if self.chat is False else "a model made from scratch has no chat template"
            raise ValueError(f"'{given[0]}' is for the chat template, and {why}: leave it out")
        if self.shard and self.lora is not None:
            raise ValueError("'shard' splits weights that are trained, and 'lora' freezes them: leave one out")
        if self.chat and self.model is None:
            raise ValueError("'chat: true' takes a 'model' whose tokenizer has a chat template")
        return self

    def extras(self) -> Mapping[str, str | None]:
        """Return the optional modules that these settings want, each with the extra that brings it."""
        wanted: dict[str, str | None] = {}
        if self.lora is not None or (self.model is not None and adapter_config(self.model).is_file()):
            wanted["peft"] = "lora"
        if self.attention == "flash_attention_2":
            wanted["flash_attn"] = None
        return wanted


def adapter_config(directory: str) -> Path:
    """Return the file that makes a directory that of an adapter."""
    return Path(directory) / "adapter_config.json"
