"""The tokens of steps and the text that each token adds, whatever the tokenizer."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders

from trellis.errors import TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Pieces:
    """The tokens of a step's text, and the text that each token adds.

    A byte-level vocabulary is concatenative: a token's bytes do not depend on its neighbours, only a character cut
    into several tokens shows when its last byte has come. Other vocabularies are decoded prefix by prefix, and read a
    step as what it is, the middle of a text: SentencePiece and its like treat the beginning of a text otherwise.

    Raises:
        TokenizerError: The tokenizer does not give back the text it is given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._bytes: list[bytes] | None = None
        if isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer) and isinstance(
            tokenizer.backend_tokenizer.decoder, decoders.ByteLevel
        ):
            self._bytes = _token_bytes(tokenizer)
        # Some put a space before what they encode, and take it away again from what they decode.
        probe = "1 + 2"
        self._in_place = self._bytes is None or "".join(self.split(self._ids(probe))) != probe
        if self._in_place:
            self.encode("1 + 2 = 3\n (ab, c)  x\n\ny\n")

    @property
    def token_bytes(self) -> list[bytes] | None:
        """What each token of a byte-level vocabulary adds, nothing for special ones; None for other vocabularies."""
        return self._bytes

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a step's text.

        Raises:
            TokenizerError: They do not give the text back.
        """
        return self._encode_in_place(text) if self._in_place else self._ids(text)

    def _encode_in_place(self, text: str) -> tuple[int, ...]:
        """Encode the text after an anchor, and leave the anchor's tokens out."""
        back = ""
        for anchor in ("\n", _ANCHOR):
            before, whole = self._ids(anchor), self._ids(anchor + text)
            # Where the anchor has grown together with the text, another is tried.
            if whole[: len(before)] == before:
                ids = whole[len(before) :]
                back = "".join(self.split(ids))
                if back == text:
                    return ids
        raise TokenizerError(
            f"the tokenizer does not keep text as it is: {text!r} comes back as {back!r}. Steps are cut and judged by "
            "their text: take a model whose tokenizer keeps every character, spaces and line breaks among them"
        )

    def decoder(self) -> PieceDecoder:
        """Return a decoder for one sequence, to be fed its tokens in order."""
        if self._bytes is not None:
            return _ByteDecoder(self._bytes)
        return PieceDecoder(self._tokenizer, after=self._ids(_ANCHOR))

    def split(self, ids: Sequence[int]) -> list[str]:
        """Return the text each token of a sequence adds."""
        decoder = self.decoder()
        return [decoder.add(token) for token in ids]

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)


_ANCHOR = "a"
"""What a sequence is decoded after: a whole character that takes no space with it."""


class PieceDecoder:
    """Decodes one sequence token by token, holding back a character until it is complete."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, after: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(after)
        self._text = self._decode()

    def add(self, token: int) -> str:
        """Return the text this token adds; special tokens add none."""
        self._ids.append(token)
        text = self._decode()
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        added, self._text = text[len(self._text) :], text
        return added

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class _ByteDecoder(PieceDecoder):
    def __init__(self, token_bytes: list[bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        # A model may hold more rows than its tokenizer has tokens; those have no text.
        return self._utf8.decode(self._token_bytes[token]) if token < len(self._token_bytes) else ""


def _token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The bytes of every token; none for special ones. GPT-2's printable alphabet stands for the bytes 0 to 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + i): byte for i, byte in enumerate(b for b in range(256) if b not in set(printable))}
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return [
        b"" if i in special else token.encode() if i in added else bytes(alphabet[character] for character in token)
        for i, token in enumerate(tokens)
    ]
