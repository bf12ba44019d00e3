"""A tokenizer made from characters."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trellis_transformers.config import CharacterTokenizer

END = "<|end|>"


def character_tokenizer(config: CharacterTokenizer) -> PreTrainedTokenizerFast:
    """Make a lossless tokenizer: bytes, the configured words and numbers, and one end-of-sequence token.

    The end-of-sequence token has no text: `<|end|>` in a text is seven characters like any others.
    """
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {letter: index for index, letter in enumerate(sorted(byte_level.alphabet()))}
    words = dict.fromkeys([*config.words, *(str(number) for number in range(10, config.numbers))])
    merges: list[tuple[str, str]] = []
    for word in [word for word in words if word in vocabulary]:
        # The vocabulary's letters stand for bytes; one beyond ASCII for another than its own. As a word it is the
        # merge of its two bytes: an added token of that name would be the byte's.
        del words[word]
        if not word.isascii():
            ((letters, _),) = byte_level.pre_tokenize_str(word)
            merges.append((letters[0], letters[1]))
            vocabulary[letters] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )
