"""What a server answers, as completions.

A server gives text, and with it, if it does, tokens as text. Those do not always join to the text: special tokens are left out of
it, and a character may be cut into tokens that are no text by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trellis import Completion
from trellis.errors import CapabilityError, EndpointError


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of an answer.

    Attributes:
        text: The text.
        finish: Why it ended, as the server says.
        stop: The stop text that ended it, where the server says so.
        tokens: The text of each token; None where it does not say.
        log_probs: As long as `tokens`.
        count: How many tokens it has, where there are no `tokens`.
        endpoint: Who answered.
    """

    text: str
    finish: str | None
    stop: str | None
    tokens: Sequence[str] | None
    log_probs: Sequence[float] | None
    count: int | None
    endpoint: str


def completion(reply: Reply, *, stop: str | None, masked: bool) -> Completion:
    """Turn a reply into a completion.

    Args:
        reply: The reply.
        stop: Where to cut it, if the server was not told to.
        masked: Whether it was written under a grammar. Its log-probabilities are left out then: vLLM takes them before the mask,
            unless it is told otherwise where it is started (`--logprobs-mode`).

    Raises:
        EndpointError: It ended for a reason that is none of a completion's.
        CapabilityError: It says neither tokens nor how many.
    """
    if reply.finish not in ("stop", "length"):
        raise EndpointError(reply.endpoint, status=200, reason=f"a completion ended with '{reply.finish}'")
    finish: Literal["end", "stop", "length"] = "length" if reply.finish == "length" else "end"
    text = reply.text
    if reply.stop is not None:
        finish = "stop"
    elif stop is not None and stop in text:
        finish, text = "stop", text[: text.index(stop) + len(stop)]
    if reply.tokens is None or reply.log_probs is None:
        if reply.count is None:
            raise CapabilityError(
                "openai",
                capability="number of tokens",
                mend=f"{reply.endpoint} says neither the tokens nor the usage of an answer, and budgets count them.",
            )
        return Completion((), (text,), (), finish, count=max(1, reply.count))
    pieces = align(reply.tokens, reply.text)
    if len(text) < len(reply.text):
        pieces = _cut(pieces, len(text))
    return Completion((), tuple(pieces), () if masked else tuple(reply.log_probs[: len(pieces)]), finish)


def align(tokens: Sequence[str], text: str) -> list[str]:
    """Return the text that each token adds, so that all pieces together are the text.

    A token that is not what comes next adds nothing, until one is: what lies between goes to the token before that.

    Example:
        >>> align(["<s>", "a", "\ufffd", "\ufffd", " b", "</s>"], "aé b")
        ['', 'a', '', 'é', ' b', '']
    """
    pieces = [""] * len(tokens)
    end, held = 0, 0
    for index, token in enumerate(tokens):
        # A token of bytes that are no character is at most four bytes: so long can be what was held back.
        place = text.find(token, end, end + 4 * held + len(token)) if token else -1
        if place < 0:
            held += 1
            continue
        if place > end:
            pieces[index - 1] = text[end:place]
        pieces[index] = token
        end, held = place + len(token), 0
    if end < len(text) and pieces:
        pieces[-1] += text[end:]
    return pieces


def _cut(pieces: Sequence[str], length: int) -> list[str]:
    """Return the pieces of the first characters; a token that runs over keeps its part."""
    kept: list[str] = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(piece[:length])
        length -= len(piece)
    return kept
