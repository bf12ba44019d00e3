"""Chat templates: a prompt as a user's turn, and what ends the answer to it.

The answer begins right after the template's generation prompt, so the steps of a trace stand where a sample's would. What
the template puts around a whole answer (a line break after the end of the turn, say) is never seen by a policy that stops
at the end of its turn, and no part of a trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from trellis.errors import TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWER = "an-answer"


class Chat:
    """A tokenizer's chat template, with what is said to it every time.

    Attributes:
        end_id: The first special token after an answer, which ends the assistant's turn; None where the template has none.

    Raises:
        TokenizerError: The template does not take a user's turn, or not the system's.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system_prompt: str | None = None,
        options: Mapping[str, bool | int | float | str] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._system = [{"role": "system", "content": system_prompt}] if system_prompt is not None else []
        self._options = dict(options or {})
        self.end_id = self._end_id()

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        chat: bool | None = None,
        system_prompt: str | None = None,
        options: Mapping[str, bool | int | float | str] | None = None,
    ) -> Chat | None:
        """Return a tokenizer's chat where it is wanted, and else None.

        Args:
            tokenizer: The tokenizer.
            name: Whose it is, for messages.
            chat: Whether it is wanted; None where the tokenizer has a template.
            system_prompt: The system's turn before the user's.
            options: What the template is told besides.

        Raises:
            TokenizerError: It is wanted, and there is no template.
        """
        if tokenizer.chat_template is not None and chat is not False:
            return cls(tokenizer, system_prompt=system_prompt, options=options)
        if chat or system_prompt is not None or options:
            raise TokenizerError(
                f"the tokenizer of {name!r} has no chat template: leave `chat`, `system_prompt` and `template_options` out, "
                "or set `chat_template` in it"
            )
        return None

    def prompt(self, text: str) -> tuple[int, ...]:
        """Return the tokens of the conversation up to where the answer to `text` begins."""
        return self._ids(self._render([{"role": "user", "content": text}], answer_follows=True))

    def _end_id(self) -> int | None:
        turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": _ANSWER}]
        _, found, after = self._render(turns, answer_follows=False).rpartition(_ANSWER)
        if not found:
            raise TokenizerError("the chat template leaves the assistant's text out: set `chat: false`, or mend it")
        added = self._tokenizer.added_tokens_decoder
        special = {*self._tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        return next((token for token in self._ids(after) if token in special), None)

    def _render(self, turns: Sequence[Mapping[str, str]], *, answer_follows: bool) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                [*self._system, *turns], tokenize=False, add_generation_prompt=answer_follows, **self._options
            )
        except TemplateError as error:
            mend = (
                "leave `system_prompt` out, or put it into the task's prompt" if self._system else "set `chat: false`"
            )
            raise TokenizerError(f"the tokenizer's chat template refuses the conversation ({error}): {mend}") from error
        return text

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)
