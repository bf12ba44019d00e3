"""Completions that keep to a grammar, through xgrammar (https://github.com/mlc-ai/xgrammar).

A grammar is GBNF text (https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md) with `root` as its first rule. It is
compiled against the vocabulary once; a matcher then says, token by token, which tokens may follow. Where the text is whole, the
end-of-sequence tokens are among them.

Shape suffixes: B rows, T tokens, W words of 32 bits (`trellis.nn.masks`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from trellis.errors import GrammarError, MissingExtraError, TokenizerError
from trellis.nn import Pieces, all_tokens

if TYPE_CHECKING:
    import xgrammar

GRAMMARS_KEPT = 256
"""Compiled grammars kept: one of a query's hints takes about a millisecond to compile, one of a large language more."""


class Grammars:
    """The grammars of one vocabulary.

    Args:
        tokenizer: Has the vocabulary.
        pieces: Spells it.
        vocab_size: How many logits the model gives; it may hold more rows than the tokenizer has tokens.
        end_ids: The tokens that end a completion.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, pieces: Pieces, vocab_size: int, end_ids: frozenset[int]
    ) -> None:
        self.vocab_size = vocab_size
        self._tokenizer = tokenizer
        self._pieces = pieces
        self._end_ids = sorted(end_ids)
        self._compiler: xgrammar.GrammarCompiler | None = None
        self._compiled = lru_cache(maxsize=GRAMMARS_KEPT)(self._compile)

    def matcher(self, grammar: str, prefix: Sequence[int] = ()) -> Matcher:
        """Return a matcher of a grammar that stands after the tokens of a prefix.

        Raises:
            MissingExtraError: xgrammar is not installed.
            GrammarError: The grammar cannot be read, or the prefix does not match it.
        """
        matcher = Matcher(self._compiled(grammar), grammar, pieces=self._pieces, vocab_size=self.vocab_size)
        for token in prefix:
            matcher.add(token)
        return matcher

    def allowed(self, grammar: str, ids: Sequence[int]) -> torch.Tensor:
        """Return the tokens that could have been drawn in place of each of a completion's; int32 of shape (T, W).

        Raises:
            GrammarError: The completion does not match the grammar.
        """
        matcher = self.matcher(grammar)
        allowed_TW = all_tokens(len(ids), vocab_size=self.vocab_size)
        for index, token in enumerate(ids):
            matcher.fill(allowed_TW, index)
            matcher.add(token)
        return allowed_TW

    def _compile(self, grammar: str) -> xgrammar.CompiledGrammar:
        if self._compiler is None:
            self._compiler = self._made_compiler()
        try:
            return self._compiler.compile_grammar(grammar)
        except RuntimeError as error:
            raise _unreadable(grammar, str(error)) from None

    def _made_compiler(self) -> xgrammar.GrammarCompiler:
        try:
            import xgrammar
        except ImportError:
            raise MissingExtraError("transformers", extra="grammar", module="xgrammar") from None
        spelt = self._pieces.token_bytes
        if spelt is None:
            vocabulary = xgrammar.TokenizerInfo.from_huggingface(
                self._tokenizer, vocab_size=self.vocab_size, stop_token_ids=self._end_ids
            )
        else:
            # What each token really adds: xgrammar itself would read an added token as if it were of the byte alphabet.
            vocabulary = xgrammar.TokenizerInfo(
                spelt[: self.vocab_size], vocab_size=self.vocab_size, stop_token_ids=self._end_ids
            )
        return xgrammar.GrammarCompiler(vocabulary, max_threads=1, cache_enabled=False)


class Matcher:
    """Where one completion stands in its grammar."""

    def __init__(self, compiled: xgrammar.CompiledGrammar, grammar: str, *, pieces: Pieces, vocab_size: int) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._grammar = grammar
        self._pieces = pieces
        # xgrammar leaves the bits past the vocabulary's end as it finds them.
        self._last_word = (1 << vocab_size % 32) - 1 or -1
        self._ids: list[int] = []

    def fill(self, allowed_BW: torch.Tensor, index: int) -> None:
        """Write the tokens that may follow into one row of an int32 tensor.

        Raises:
            TokenizerError: There are none.
        """
        self._matcher.fill_next_token_bitmask(allowed_BW, index)
        allowed_BW[index, -1] &= self._last_word
        if not allowed_BW[index].any():
            raise TokenizerError(
                f"the vocabulary cannot spell the grammar: after {self._text()!r} no token may follow. Take a tokenizer "
                "that has every character of it (as byte-level ones do), or write the grammar in characters it has:\n"
                + self._grammar
            )

    def add(self, token: int) -> None:
        """Go on by one token.

        Raises:
            GrammarError: It may not follow.
        """
        if not self._matcher.accept_token(token):
            piece = "".join(self._pieces.split([token])) or f"token {token}"
            raise GrammarError(f"{piece!r} may not follow {self._text()!r} in the grammar\n{self._grammar}")
        self._ids.append(token)

    def _text(self) -> str:
        return "".join(self._pieces.split(self._ids))


def _unreadable(grammar: str, message: str) -> GrammarError:
    """Turn what xgrammar says of a grammar into an error that shows the line."""
    found = re.search(r"at line (\d+), column (\d+): (.*)", message, re.DOTALL)
    if found is None:
        return GrammarError(f"the grammar cannot be read: {message.strip()}\n{grammar}")
    line, column, reason = int(found[1]), int(found[2]), found[3].strip()
    lines = grammar.splitlines()
    shown = f"\n{lines[line - 1]}\n{' ' * (column - 1)}^" if line <= len(lines) else ""
    return GrammarError(f"the grammar, line {line}, column {column}: {reason}{shown}", line=line)
