"""Chat templates: what the model reads of a prompt, and how an answer ends."""

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from trellis import Problem, SampleRequest, Step, Trajectory
from trellis.errors import TokenizerError
from trellis_transformers.config import TransformersConfig
from trellis_transformers.policy import TransformersPolicy

QWEN2 = "<|im_start|>user\n1 + 1\n<|im_end|>\n<|im_start|>assistant\n"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n1 + 1<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
SYSTEM = "<|im_start|>system\nBe brief.<|im_end|>\n"


def made(directory, **options) -> TransformersPolicy:
    return TransformersPolicy(TransformersConfig(model=str(directory), device="cpu", **options))


def start(prompt: str = "1 + 1\n") -> Trajectory:
    return Trajectory(Problem("p", prompt), prompt)


def read(policy: TransformersPolicy, trajectory: Trajectory) -> str:
    """All that the model reads of a trajectory."""
    batch = policy.batch([trajectory])
    return policy.tokenizer.decode(batch.ids_BT[0], clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("kind", "options", "before", "end"),
    [
        ("qwen2", {}, QWEN2, "<|im_end|>"),
        ("qwen2", {"system_prompt": "Be brief."}, SYSTEM + QWEN2, "<|im_end|>"),
        ("qwen2", {"chat": False}, "1 + 1\n", "<|im_end|>"),
        ("llama", {}, LLAMA, "<|eot_id|>"),
        ("llama", {"chat": False}, "1 + 1\n", "<|end_of_text|>"),
        ("base", {}, "1 + 1\n", "<|endoftext|>"),
    ],
)
def test_a_trace_is_the_assistants_turn_and_ends_as_one(kind, options, before, end, model_directory):
    policy = made(model_directory(kind), **options)
    trace = replace(start(), steps=(Step("1 + 1 = 2.\n"), Step("The answer is 2")), finished=True)
    assert read(policy, trace) == before + "1 + 1 = 2.\nThe answer is 2" + end
    batch = policy.batch([trace])
    assert policy.tokenizer.decode(batch.ids_BT[0][batch.mask_BT[0]]) == "1 + 1 = 2.\nThe answer is 2" + end


def test_a_sample_ends_with_the_turn_and_with_whatever_else_ends_a_text(model_directory):
    policy = made(model_directory("llama"))
    ids = policy.tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"])
    policy.module.lm_head.weight.data[ids[0]] = policy.module.lm_head.weight.data[ids[1]]
    (completions,) = policy.sample([SampleRequest(start(), n=200, max_tokens=20)])
    ended = {c.token_ids[-1] for c in completions if c.finish == "end"}
    assert ended == set(ids)


def test_options_go_to_the_template(model_directory, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(model_directory("qwen2"))
    tokenizer.chat_template += (
        "{% if add_generation_prompt and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    )
    for file in model_directory("qwen2").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer.save_pretrained(tmp_path)
    assert read(made(tmp_path, template_options={"enable_thinking": True}), start()) == QWEN2
    assert read(made(tmp_path, template_options={"enable_thinking": False}), start()).endswith("</think>\n\n")


TEMPLATES = {
    "refuses-the-system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}",
        "no sys",
    ),
    "leaves-the-answer-out": ("{{ messages[0].content }}", "leaves the assistant's text out: set `chat: false`"),
}


@pytest.mark.parametrize(("template", "words"), TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_that_does_not_fit_is_refused(template, words, model_directory, tmp_path):
    for file in model_directory("qwen2").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(TokenizerError, match=words):
        made(tmp_path, system_prompt="Be brief.")


@pytest.mark.parametrize("options", [{"chat": True}, {"system_prompt": "Be brief."}, {"template_options": {"a": 1}}])
def test_without_a_template_there_is_no_chat(options, model_directory):
    with pytest.raises(TokenizerError, match="has no chat template: leave `chat`, `system_prompt` and"):
        made(model_directory("base"), **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"model": "x", "chat": False, "system_prompt": "a"},
            "'system_prompt' is for the chat template, and 'chat' is false",
        ),
        ({"system_prompt": "a"}, "a model made from scratch has no chat template: leave it out"),
        ({"chat": True}, "'chat: true' takes a 'model'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        TransformersConfig(**options)
