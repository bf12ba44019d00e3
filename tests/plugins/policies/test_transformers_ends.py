"""Where sequences begin and end, with the quirks of pretrained models."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from trellis import Problem, SampleRequest, Trajectory
from trellis_transformers.config import TransformersConfig
from trellis_transformers.policy import TransformersPolicy


def directory(path, *, template, other_end=None):
    """A model directory whose tokenizer puts `template` around a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<end>"]
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate([*special, *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 0), ("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.add_special_tokens({"additional_special_tokens": ["<end>"]})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", n_layer=1, n_embd=16, n_head=2, n_positions=64, vocab_size=len(letters) + 3)
    )
    if other_end is not None:
        model.generation_config.eos_token_id = [1, other_end]
    fast.save_pretrained(path)
    model.save_pretrained(path)
    return TransformersPolicy(TransformersConfig(model=str(path), device="cpu"))


@pytest.mark.parametrize("template", ["$A", "<s> $A", "<s> $A </s>", "$A </s>"])
def test_a_prompt_is_begun_once_and_never_ended(tmp_path, template):
    policy = directory(tmp_path, template=template)
    begun = (0,) if template.startswith("<s>") else ()
    a, b = policy.tokenizer.convert_tokens_to_ids(["a", "b"])
    assert policy._prompt("ab") == (*begun, a, b)
    assert policy._prompt("<s>ab") == (0, a, b), "a chat template has begun it already"


def test_any_of_the_models_end_tokens_ends_a_completion(tmp_path):
    policy = directory(tmp_path, template="$A", other_end=2)
    (completions,) = policy.sample([SampleRequest(Trajectory(Problem("p", "a"), "a"), n=256, max_tokens=60, seed=1)])
    ended = {completion.token_ids[-1] for completion in completions if completion.finish == "end"}
    assert ended == {1, 2}
    assert all(not {1, 2} & set(completion.token_ids[:-1]) for completion in completions)


def test_a_saved_model_lists_what_ends_a_turn_for_those_who_serve_it(model_directory, tmp_path):
    policy = TransformersPolicy(TransformersConfig(model=str(model_directory("llama")), device="cpu"))
    policy.save(tmp_path)
    listed = GenerationConfig.from_pretrained(tmp_path).eos_token_id
    assert set(policy.tokenizer.convert_ids_to_tokens(listed)) == {"<|eot_id|>", "<|end_of_text|>"}
