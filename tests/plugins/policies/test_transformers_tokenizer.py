"""Tokenizers: the one made from characters keeps every text, and any other gives the text of its tokens."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trellis.errors import TokenizerError
from trellis.nn import Pieces
from trellis_transformers.characters import END, character_tokenizer
from trellis_transformers.config import CharacterTokenizer

WORDS = (" + ", " = ", "left", "left: ", "×", "é", "Ġ", "×2", "一")
PLAIN = character_tokenizer(CharacterTokenizer())
WORDY = character_tokenizer(CharacterTokenizer(words=WORDS, numbers=120))


def texts_of(tokenizer, text: str) -> list[str]:
    pieces = Pieces(tokenizer)
    return pieces.split(pieces.encode(text))


@pytest.mark.parametrize("tokenizer", [PLAIN, WORDY], ids=["plain", "wordy"])
@given(st.text() | st.text("×éĠ÷鴉 left:+=0123456789\n") | st.lists(st.sampled_from(WORDS)).map("".join))
@example(f"before{END}after")
@example("é\N{COMBINING ACUTE ACCENT}\0\r\n\N{REPLACEMENT CHARACTER}👩‍🚀")
def test_any_text_comes_back(tokenizer, text):
    assert "".join(texts_of(tokenizer, text)) == text


def test_every_character_of_ascii_is_a_token_and_any_other_its_bytes():
    assert texts_of(PLAIN, "a b\n") == ["a", " ", "b", "\n"]
    assert texts_of(PLAIN, "é鴉👩") == ["", "é", "", "", "鴉", "", "", "", "👩"]
    assert len(PLAIN) == 257


def test_words_are_tokens_and_the_longest_is_taken():
    assert texts_of(WORDY, "left: 3 + 4 = x") == ["left: ", "3", " + ", "4", " = ", "x"]
    assert texts_of(WORDY, "leftleft:") == ["left", "left", ":"]


def test_a_word_of_one_character_is_one_token_and_no_byte_of_another():
    """The vocabulary's letters stand for bytes: `é` is the letter of byte 0xE9, with which `鴉` begins."""
    assert texts_of(WORDY, "×2×é") == ["×2", "×", "é"]
    assert texts_of(WORDY, "鴉 Ġ一") == ["", "", "鴉", " ", "Ġ", "一"]


def test_numbers_are_tokens():
    assert texts_of(WORDY, "7 12 119 120") == ["7", " ", "12", " ", "119", " ", "12", "0"]


def test_the_end_has_no_text_and_no_text_is_the_end():
    assert Pieces(PLAIN).split([PLAIN.eos_token_id]) == [""]
    assert PLAIN.eos_token_id not in PLAIN(f"before{END}after").input_ids


def test_it_is_the_same_after_saving(tmp_path):
    WORDY.save_pretrained(tmp_path)
    text = f"left: ×2 鴉 {END} 119"
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == WORDY(text).input_ids


@given(st.lists(st.integers(0, len(WORDY) - 1)))
def test_pieces_of_any_tokens_join_to_the_text_of_their_bytes(ids):
    """What a model samples need not be valid UTF-8: what is broken is replaced, a character in the making is left out."""
    pieces = Pieces(WORDY)
    whole = b"".join(pieces._bytes[token] for token in ids)
    joined = "".join(pieces.split(ids))
    expected = whole.decode("utf-8", errors="replace")
    assert joined == expected or expected.removeprefix(joined) in ("\N{REPLACEMENT CHARACTER}", "")


CORPUS = ["12 + 30 = 42", "42 - 2 = 40", "the answer is (7)", "1 2 3 4 5 6 7 8 9 0", "abc, x * y / z"] * 20
DUMMY_SPACE = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)


def sentencepiece_like(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer as converted from SentencePiece: spaces are `▁`, what is unknown falls back to bytes."""
    tokenizer = Tokenizer(models.BPE())
    if kind in ("first", "always"):
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind)
    elif kind == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = DUMMY_SPACE
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    state["model"]["byte_fallback"] = True
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>", eos_token="</s>"
    )


SENTENCEPIECE = {kind: sentencepiece_like(kind) for kind in ("first", "always", "normalizer")}


@pytest.mark.parametrize("kind", SENTENCEPIECE)
@given(st.lists(st.sampled_from(["12 + 3\n", "= 4", " x\n", "\n", "  ", "abc", "鴉é\n", "the answer is"])))
@example([" leading", "and", " more"])
def test_steps_read_apart_are_the_steps_of_one_text(kind, steps):
    """Each step is encoded by itself; their tokens in a row must give their texts in a row, no space more or less."""
    pieces = Pieces(SENTENCEPIECE[kind])
    encoded = [pieces.encode(step) for step in steps]
    assert "".join(pieces.split([token for ids in encoded for token in ids])) == "".join(steps)
    for step, ids in zip(steps, encoded, strict=True):
        assert "".join(pieces.split(ids)) == step


@pytest.mark.parametrize("kind", SENTENCEPIECE)
@pytest.mark.parametrize("step", ["nswer\n", "bc, x\n", "\n", "2 + 3\n"])
def test_a_step_is_read_whatever_it_begins_with(kind, step):
    """`a` and `nswer` grow together, two line breaks may: one anchor alone would not do."""
    pieces = Pieces(SENTENCEPIECE[kind])
    assert "".join(pieces.split(pieces.encode(step))) == step


@pytest.mark.parametrize("kind", SENTENCEPIECE)
def test_a_step_is_read_as_after_a_line_break(kind):
    tokenizer = SENTENCEPIECE[kind]
    whole = tokenizer("1 + 2\n12 = 3\n", add_special_tokens=False).input_ids
    first, second = (Pieces(tokenizer).encode(step) for step in ("1 + 2\n", "12 = 3\n"))
    assert tuple(whole[-len(second) :]) == second
    assert tokenizer.convert_ids_to_tokens(list(second))[0] != "▁"
    assert len(whole) - len(second) - len(first) in (0, 1), "only the dummy space before the whole text is left out"


def test_a_tokenizer_that_puts_a_space_before_its_text_does_not_put_one_before_a_step():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    assert "".join(texts_of(PreTrainedTokenizerFast(tokenizer_object=tokenizer), "12 + 3\n")) == "12 + 3\n"


def test_a_tokenizer_that_loses_spaces_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"1": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(TokenizerError, match=r"does not keep text as it is.*comes back as.*take a model whose"):
        Pieces(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]"))


def test_a_step_that_the_vocabulary_cannot_write_is_refused():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(["1 + 2 = 3\n (ab, c)  x\n\ny\n"], trainers.BpeTrainer(show_progress=False))
    pieces = Pieces(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert "".join(pieces.split(pieces.encode("3 = 1\n"))) == "3 = 1\n"
    with pytest.raises(TokenizerError, match="'3 ≤ 1"):
        pieces.encode("3 ≤ 1\n")
