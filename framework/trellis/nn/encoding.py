"""How a tokenizer reads prompts and steps: the same tokens in every policy that has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from trellis.errors import ContractError, TokenizerError
from trellis.nn.pieces import PieceDecoder, Pieces
from trellis.types import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trellis.nn.chat import Chat


class Encoding:
    """Gives tokens to prompts and to the steps that have none, and text to sampled tokens.

    Args:
        tokenizer: The tokenizer.
        name: Whose it is, for messages.
        chat: Its chat template, where a prompt is a user's turn and the steps are the answer to it.
        end_id: The token that ends a finished trajectory; left out, the one that ends a turn, or else the end-of-sequence token.
        end_ids: What else ends a completion.

    Attributes:
        tokenizer: As given.
        end_id: The token that ends a finished trajectory.
        end_ids: The tokens that end a completion.
        pieces: The tokens of a step's text, and the text that each adds.

    Raises:
        TokenizerError: It has no end-of-sequence token, or does not give back the text it is given.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        chat: Chat | None = None,
        end_id: int | None = None,
        end_ids: Iterable[int] = (),
    ) -> None:
        self.tokenizer = tokenizer
        eos = tokenizer.eos_token_id
        if end_id is None:
            end_id = eos if chat is None or chat.end_id is None else chat.end_id
        if end_id is None:
            raise TokenizerError(f"the tokenizer of {name!r} has no end-of-sequence token: set `eos_token` in it")
        self.end_id: int = end_id
        self.end_ids = frozenset({end_id, *end_ids, *(() if eos is None else (eos,))})
        begin = tokenizer.bos_token_id
        self._begin = (begin,) if begin is not None and tokenizer("a").input_ids[0] == begin else ()
        self._chat = chat
        self.pieces = Pieces(tokenizer)
        # Training reads the same problems and traces many times over.
        self._prompt = lru_cache(maxsize=100_000)(self._encode_prompt)
        self._step = lru_cache(maxsize=100_000)(self.pieces.encode)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a prompt.

        Raises:
            TokenizerError: There are none.
        """
        ids = self._prompt(text)
        if not ids:
            raise TokenizerError("the prompt is empty: a policy needs at least one token to begin from")
        return ids

    def step(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a step's text."""
        return self._step(text)

    def choices(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the tokens of the texts that a completion may be; one that begins another ends with the end token.

        Raises:
            ContractError: There are none, or one is empty.
        """
        if not texts or not all(texts):
            raise ContractError(
                "`choices` of a request are one text or more, none of them empty; None allows every text"
            )
        begun = {text for text in texts for other in texts if other != text and other.startswith(text)}
        return [(*self.step(text), self.end_id) if text in begun else self.step(text) for text in texts]

    def encode(self, trajectory: Trajectory) -> Trajectory:
        """Give tokens to the steps that have none; a given trace ends with the end token as a sample does."""
        if all(step.token_ids for step in trajectory.steps):
            return trajectory
        steps = [s if s.token_ids else replace(s, token_ids=self._step(s.text)) for s in trajectory.steps]
        if trajectory.finished and not trajectory.steps[-1].token_ids:
            steps[-1] = replace(steps[-1], token_ids=(*steps[-1].token_ids, self.end_id))
        return replace(trajectory, steps=tuple(steps))

    def read(self, trajectory: Trajectory) -> tuple[int, ...]:
        """Return the tokens of a trajectory, prompt and steps."""
        steps = self.encode(trajectory).steps
        return self.prompt(trajectory.prompt) + tuple(token for step in steps for token in step.token_ids)

    def decoder(self) -> PieceDecoder:
        """Return a decoder for one sequence, to be fed its tokens in order."""
        return self.pieces.decoder()

    def _encode_prompt(self, text: str) -> tuple[int, ...]:
        if self._chat is not None:
            return self._chat.prompt(text)
        # A prompt is begun and never ended, whatever the tokenizer would put around a whole text.
        ids = tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
        return ids if ids[:1] == self._begin else self._begin + ids
