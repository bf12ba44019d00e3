"""Small models are fastest on one thread; tests reach for no hub, and see no settings of whoever runs them."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TRELLIS_CONFIG_DIR"] = tempfile.mkdtemp(prefix="trellis-tests-")
for name in ("TRELLIS_DISABLE_PLUGINS", "TRELLIS_STRICT_PLUGINS"):
    os.environ.pop(name, None)


def pytest_configure(config):
    """Let pass what chromadb leaks, where it is installed: it never closes its HTTP client, whoever's test is running then."""
    if find_spec("chromadb"):
        config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")


QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TEXTS = [
    "12 + 3 = 15.\n\n15 * 2 = 30.\n\nThe answer is 30.\n",
    "so\n\nthen\n\nfirst, second (third); 4 - 1 = 3 | left: 7 3\n7 * 3 = 21 -> 21\n",
    "Solve the problem step by step, one step a line.\nYou are a careful assistant.\n",
] * 20


@pytest.fixture(scope="session")
def byte_level_bpe():
    """A tokenizer as Qwen2 and Llama 3 have it, trained here: line breaks in a row, and a full stop before one, are one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def model_directory(byte_level_bpe, tmp_path_factory):
    """Make a model's directory as a person has it: `model_directory("qwen2")`, "llama", or "base" without a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    tokens = {
        "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "llama": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "base": ["<|endoftext|>"],
    }
    made = {}

    def make(kind: str) -> Path:
        if kind in made:
            return made[kind]
        ends = {"qwen2": ("<|im_end|>", None), "llama": ("<|end_of_text|>", "<|begin_of_text|>")}
        end, begin = ends.get(kind, ("<|endoftext|>", None))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=type(byte_level_bpe).from_str(byte_level_bpe.to_str()),
            eos_token=end,
            bos_token=begin,
            additional_special_tokens=tokens[kind],
            clean_up_tokenization_spaces=False,
        )
        tokenizer.chat_template = {"qwen2": CHATML, "llama": LLAMA3}.get(kind)
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            if kind == "llama":
                model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **ids, **sizes))
            else:
                # As Qwen's own: more rows than the tokenizer has tokens, the same for input and output.
                config = Qwen2Config(vocab_size=len(tokenizer) + 60, tie_word_embeddings=True, **ids, **sizes)
                model = Qwen2ForCausalLM(config)
        path = tmp_path_factory.mktemp(f"model-{kind}")
        # In several files, as large models are.
        model.save_pretrained(path, max_shard_size="40KB")
        tokenizer.save_pretrained(path)
        made[kind] = path
        return path

    return make
