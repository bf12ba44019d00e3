"""Where the model comes from, and what can be wrong with what was asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from torch.utils.checkpoint import checkpoint
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from trellis.errors import (
    CapabilityError,
    CheckpointError,
    SpecError,
    SpecProblem,
    TokenizerError,
    did_you_mean,
)
from trellis_transformers.config import TransformersConfig, adapter_config

TINY: dict[str, bool | int | float | str] = {
    "model_type": "gpt2",
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 4,
    "n_positions": 256,
    "activation_function": "relu",
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}


def from_scratch(config: TransformersConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Make a model of the configured architecture with weights drawn from the config's seed alone.

    Raises:
        SpecError: `init` is not an architecture, or not one that can be built; names every field at fault.
        CapabilityError: The architecture cannot be sampled exactly.
    """
    init = dict(TINY if config.init == "tiny" else config.init)
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    filled = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **ids}
    try:
        architecture = _architecture(init, filled)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed or 0)
            model = _attends(AutoModelForCausalLM.from_config(architecture, attn_implementation=config.attention))
            # Some values that do not go together show only when a token is read.
            model(torch.zeros(1, 1, dtype=torch.int64))
    # Whatever transformers says of values that do not go together; it has no error of its own for that.
    except (StrictDataclassError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        what = f"transformers cannot make this {init['model_type']}: {error}"
        raise SpecError([SpecProblem(what, path="init")]) from error
    return model


def pretrained(
    name: str, *, dtype: torch.dtype, device: torch.device, attention: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from a directory or the hub; an adapter is merged into its base model.

    Raises:
        CheckpointError: There is no such directory or hub id, or it holds no causal language model with a tokenizer.
        CapabilityError: The architecture cannot be sampled exactly, or not with this attention.
        TokenizerError: The tokenizer has tokens that the model does not.
    """
    path = Path(name)
    if adapter_config(name).is_file():
        from trellis_transformers.adapters import base_of, merged_adapter

        model, _ = pretrained(base_of(path), dtype=dtype, device=device, attention=attention)
        return merged_adapter(model, path), AutoTokenizer.from_pretrained(name)
    if attention == "flash_attention_2" and device.type != "cuda":
        mend = "set `attention: sdpa`."
        raise CapabilityError("transformers", capability=f"flash_attention_2 on {device.type}", mend=mend)
    # What is written as a path is one: it is never looked for on the hub.
    if not path.is_dir() and (name.startswith((".", "~", "/")) or path.is_file() or len(path.parts) > 2):
        raise CheckpointError(f"`model`: there is no directory {path.absolute()}", path=path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, device_map=device, attn_implementation=attention
        )
    except (OSError, ValueError, KeyError, HFValidationError) as error:
        found = (
            "the directory holds no such pair" if path.is_dir() else f"no directory {path.absolute()}, nor on the hub"
        )
        raise CheckpointError(
            f"`model`: no causal language model with its tokenizer is at {name!r} ({found}). Give a directory written by "
            f"`save_pretrained` of both, or the id of a model on the hub. transformers says: {error}",
            path=path,
        ) from error
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise TokenizerError(
            f"the tokenizer at {name!r} has {len(tokenizer)} tokens and the model there {rows}: they do not belong together, "
            "or `model.resize_token_embeddings` is still to be called"
        )
    return _attends(model), tokenizer


def cache_where_asked(model: PreTrainedModel) -> None:
    """Let a model, and what is copied of it, keep keys and values only where it is called with `use_cache=True`."""
    model.base_model.register_forward_pre_hook(_without_cache, with_kwargs=True)


def _without_cache(
    module: torch.nn.Module, args: object, kwargs: dict[str, object]
) -> tuple[object, dict[str, object]]:
    return args, {**kwargs, "use_cache": kwargs.get("use_cache") or False}


def mix_precision(model: PreTrainedModel) -> None:
    """Let a model, and what is copied of it or of its trunk, multiply in bfloat16 whatever its weights are held in."""
    for part in (model, model.base_model):
        part.register_forward_pre_hook(_enter_autocast)
        part.register_forward_hook(_leave_autocast, always_call=True)


class _Entered(threading.local):
    """The autocasts that a thread is in, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[torch.autocast] = []


_entered = _Entered()


def _enter_autocast(module: torch.nn.Module, args: object) -> None:
    _entered.stack.append(torch.autocast(next(module.parameters()).device.type, dtype=torch.bfloat16))
    _entered.stack[-1].__enter__()  # type: ignore[no-untyped-call]


def _leave_autocast(module: torch.nn.Module, args: object, output: object) -> None:
    _entered.stack.pop().__exit__(None, None, None)


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Let a model keep no more than each layer's input wherever a gradient will be asked for.

    transformers does so in training mode only, and would leave the key-value cache out there. Reinforcement learning takes
    its gradients in evaluation mode, without dropout; sampling wants the cache.

    Raises:
        CapabilityError: The architecture's layers cannot be computed again.
    """
    if not model.supports_gradient_checkpointing:
        mend = "leave `gradient_checkpointing` out."
        kind = model.config.model_type
        raise CapabilityError("transformers", capability=f"gradient checkpointing of {kind}", mend=mend)
    model.gradient_checkpointing_enable()
    for layer in _layers(model):
        layer._gradient_checkpointing_func = _computed_again
    model.base_model.register_forward_pre_hook(_checkpoint_under_autograd)


def _checkpoint_under_autograd(module: torch.nn.Module, args: object) -> None:
    if torch.is_grad_enabled():
        for layer in _layers(module):
            layer.training = True


def _computed_again(run: partial[torch.Tensor], *args: object) -> object:
    """Run a layer as transformers asks for it, in the mode that it is in for all but the decision to come here."""
    layer = run.func.__self__  # type: ignore[attr-defined]
    layer.training = next(layer.children()).training
    return checkpoint(run, *args, use_reentrant=False)


def _layers(module: torch.nn.Module) -> list[GradientCheckpointingLayer]:
    return [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]


def device_named(name: str | None) -> torch.device:
    """Return the device of a name; for None and "auto" the best there is.

    Raises:
        CapabilityError: There is no such device here.
    """
    here = ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    if torch.cuda.is_available():
        here = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count())), *here]
    if name in (None, "auto"):
        return torch.device(here[0])
    if name not in here:
        raise CapabilityError(
            "transformers",
            capability=f"device '{name}'",
            mend=f"set `device` to one that is here ({', '.join(here)}), or to auto.",
        )
    return torch.device(name)


def _architecture(init: dict[str, bool | int | float | str], filled: Mapping[str, int]) -> PreTrainedConfig:
    """Make the architecture's config of a flat mapping; transformers itself would take any field and not say a word."""
    model_type = init.get("model_type")
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        choices = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
        what = "`model_type` is missing" if model_type is None else f"no causal language model is named '{model_type}'"
        problem = SpecProblem(
            what + did_you_mean(str(model_type), choices), path="init.model_type", choices=tuple(choices)
        )
        raise SpecError([problem])
    given = {name: value for name, value in init.items() if name != "model_type"}
    architecture = CONFIG_MAPPING[model_type](**{**given, **filled})
    own = {field.name for field in fields(architecture)} - {field.name for field in fields(PreTrainedConfig)}
    valid = sorted((own | architecture.attribute_map.keys()) - filled.keys())
    # Names that are no fields are taken in where an older form of the architecture had them, e.g. `rope_theta`.
    rope = getattr(architecture, "rope_parameters", None) or {}
    ignored = [
        name
        for name in given
        if name not in valid and not (name not in architecture.__dict__ or rope.get(name) == given[name])
    ]
    problems = [
        SpecProblem(
            f"'{name}' is filled in from the tokenizer: leave it out"
            if name in filled
            else f"{model_type} has no field '{name}'{did_you_mean(name, valid)}",
            path=f"init.{name}",
            choices=() if name in filled else tuple(valid),
        )
        for name in ignored
    ]
    if problems:
        raise SpecError(problems)
    return architecture


def _attends(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model if all it keeps of the tokens before are keys and values: what is sampled here relies on that."""
    layers = () if model._is_stateful else DynamicCache(config=model.config).layers
    if model._is_stateful or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        raise CapabilityError(
            "transformers",
            capability=f"exact sampling of {model.config.model_type}",
            mend="the architecture keeps a recurrent state. Take one that attends only, e.g. gpt2, llama, qwen2 or gemma3_text.",
        )
    return model
