"""Tokenizers: one made from characters, and what each token of any tokenizer adds to the text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trellis_transformers.config import CharacterTokenizer

END = "<|end|>"


def character_tokenizer(config: CharacterTokenizer) -> PreTrainedTokenizerFast:
    """Make a lossless tokenizer: bytes, the configured words and numbers, and one end-of-sequence token."""
    bytes_by_code = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(sorted(bytes_by_code))}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    whole = [*config.words, *(str(number) for number in range(10, config.numbers))]
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in dict.fromkeys(whole)])
    tokenizer.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


class Pieces:
    """The text that each token adds.

    A byte-level vocabulary is concatenative: a token's bytes do not depend on its neighbours, only a character cut
    into several tokens shows when its last byte has come. Other vocabularies are decoded prefix by prefix.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._bytes: list[bytes] | None = None
        if isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer) and isinstance(
            tokenizer.backend_tokenizer.decoder, decoders.ByteLevel
        ):
            self._bytes = _token_bytes(tokenizer)

    def decoder(self) -> PieceDecoder:
        """Return a decoder for one sequence, to be fed its tokens in order."""
        return _ByteDecoder(self._bytes) if self._bytes is not None else PieceDecoder(self._tokenizer)

    def split(self, ids: Sequence[int]) -> list[str]:
        """Return the text each token of a sequence adds."""
        decoder = self.decoder()
        return [decoder.add(token) for token in ids]


class PieceDecoder:
    """Decodes one sequence token by token, holding back a character until it is complete."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._text = ""

    def add(self, token: int) -> str:
        """Return the text this token adds; special tokens add none."""
        self._ids.append(token)
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        added, self._text = text[len(self._text) :], text
        return added


class _ByteDecoder(PieceDecoder):
    def __init__(self, token_bytes: list[bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        return self._utf8.decode(self._token_bytes[token])


def _token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The bytes of every token; none for special ones. GPT-2's printable alphabet stands for the bytes 0 to 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + i): byte for i, byte in enumerate(b for b in range(256) if b not in set(printable))}
    added = tokenizer.added_tokens_decoder
    special = set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return [
        b"" if i in special else token.encode() if i in added else bytes(alphabet[character] for character in token)
        for i, token in enumerate(tokens)
    ]
