"""LoRA (https://arxiv.org/abs/2106.09685) by peft: the weights stay as they are, and a low-rank change of them is learned.

The adapter's layers are put into the model itself: it stays the model it was, to whatever calls it. What is trained is held
in float32, whatever the rest is held in: a bfloat16 rounds most steps of an optimizer to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.functional import cast_adapter_dtype
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trellis.errors import CheckpointError, SpecError, SpecProblem
from trellis_transformers.config import LoRA

NAME = "default"
WEIGHTS = "adapter_model.safetensors"
_WRAPPED = "base_model.model."
"""What peft, which wraps a model, puts before the names of its modules in a file."""


def add_adapter(model: PreTrainedModel, lora: LoRA, *, seed: int, base: str | None) -> None:
    """Put an adapter into a model, in place, and freeze everything else; it begins by changing nothing.

    Args:
        model: The model.
        lora: Size and place of the adapter.
        seed: Its first weights are drawn from it alone.
        base: Where the model is from, for those who read a saved adapter.

    Raises:
        SpecError: There are no such modules in the model.
    """
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model, NAME)
    except ValueError as error:
        linear = {name.rpartition(".")[2] for name, module in model.named_modules() if _takes_an_adapter(module)}
        raise SpecError([SpecProblem(str(error), path="lora.target_modules", choices=tuple(sorted(linear)))]) from error
    cast_adapter_dtype(model, NAME)


def base_of(directory: Path) -> str:
    """Return the name of the model that a saved adapter changes.

    Raises:
        CheckpointError: It names none.
    """
    base = LoraConfig.from_pretrained(directory).base_model_name_or_path
    if base is None:
        raise CheckpointError(
            f"the adapter in {directory} does not say which model it changes: write the model's directory or hub id into its "
            "adapter_config.json as `base_model_name_or_path`",
            path=directory,
        )
    return base


def merged_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """Return a model changed as a saved adapter says; nothing of the adapter is left apart."""
    merged: PreTrainedModel = PeftModel.from_pretrained(model, directory).merge_and_unload()
    return merged.requires_grad_(True)


def save_adapter(model: PreTrainedModel, directory: Path) -> None:
    """Write the adapter alone, as peft does: `PeftModel.from_pretrained(base, directory)` reads it."""
    tensors = {_WRAPPED + name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    model.peft_config[NAME].save_pretrained(directory)  # type: ignore[union-attr, operator, index]


def load_adapter(model: PreTrainedModel, directory: Path) -> None:
    """Take the adapter written by `save_adapter`.

    Raises:
        CheckpointError: There is none, or it is another model's or of another size; the present one is kept.
    """
    try:
        saved = {name.removeprefix(_WRAPPED): tensor for name, tensor in load_file(directory / WEIGHTS).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory} holds no adapter for this policy: {error}", path=directory) from error
    shapes, here = ({n: list(t.shape) for n, t in d.items()} for d in (saved, get_peft_model_state_dict(model)))
    if shapes != here:
        name = next(name for name in [*here, *shapes] if shapes.get(name) != here.get(name))
        raise CheckpointError(
            f"{directory} holds no adapter for this policy: '{name}' has the shape {shapes.get(name)} there and "
            f"{here.get(name)} here. Make the policy with the `model` and `lora` it was saved with",
            path=directory,
        )
    set_peft_model_state_dict(model, saved, NAME)


@torch.no_grad()
def merged_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of a model as they would be without its adapter apart, under the names they have without it.

    W + α/r · B A, computed in float32 and rounded to the dtype of W. Tied weights come once.
    """
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    for name, parameter in model.named_parameters():
        place, _, own = name.partition(".base_layer.")
        if name.partition(".lora_")[0] in adapted:
            continue
        if place not in adapted:
            yield name, parameter.detach()
        elif own == "weight":
            layer = adapted[place]
            delta = layer.get_delta_weight(NAME)  # type: ignore[operator]
            yield f"{place}.weight", (parameter.float() + delta.float()).to(parameter.dtype)
        else:
            yield f"{place}.{own}", parameter.detach()


def _takes_an_adapter(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear | Conv1D)
