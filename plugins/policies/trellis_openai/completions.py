"""The completions API (https://developers.openai.com/api/reference/resources/completions): text in, text that goes on from it.

The prompt and the steps so far are one text, so that a search goes on exactly where it was; where the server's tokenizer would
cut that text otherwise than the tokens were sampled, it is cut as the tokenizer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trellis import SampleRequest, Step, Trajectory
from trellis.errors import CapabilityError
from trellis_openai.config import OpenAIConfig
from trellis_openai.endpoints import Endpoints, counted
from trellis_openai.replies import Reply, align


class OpenAICompletions(Endpoints):
    """Asks for completions of prompt and steps."""

    name = "openai"
    Config = OpenAIConfig

    def __init__(self, config: OpenAIConfig) -> None:
        super().__init__(config)
        self.config = config

    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories, each step with the log-probabilities of the server's tokens of it.

        The server is asked to repeat the text with its log-probabilities (`echo`), and to go on by one token, for not all take
        none. A token belongs to where its text begins.

        Raises:
            CapabilityError: The server does not do that, or a trajectory has a grammar.
        """
        if any(trajectory.grammar is not None for trajectory in trajectories):
            mend = "a server says the probabilities of text as if there were no grammar."
            raise CapabilityError(self.name, capability="log-probabilities under a grammar", mend=mend)
        model = self.model
        return self._side_by_side(lambda trajectory: self._scored(trajectory, model), trajectories)

    def _ask(self, request: SampleRequest, model: str, *, n: int, seed: int) -> list[Reply]:
        prompt = request.prefix.prompt + request.prefix.text
        options = self._options(request, n=n, seed=seed)
        answer, endpoint = self.pool.ask(
            lambda client: client.completions.create(model=model, prompt=prompt, logprobs=1, **options)
        )
        replies = [_reply(choice, endpoint) for choice in answer.choices or ()]
        return counted(replies, answer.usage.completion_tokens if answer.usage else None)

    def _scored(self, trajectory: Trajectory, model: str) -> Trajectory:
        if not trajectory.steps:
            return trajectory
        end = self.config.end_token if trajectory.finished and self.config.end_token is not None else ""
        text = trajectory.prompt + trajectory.text + end
        answer, endpoint = self.pool.ask(
            lambda client: client.completions.create(
                model=model, prompt=text, echo=True, max_tokens=1, logprobs=1, temperature=1.0
            )
        )
        choice = answer.choices[0] if answer.choices else None
        found = choice.logprobs if choice is not None else None
        if (
            choice is None
            or found is None
            or not found.tokens
            or not found.token_logprobs
            or not answer.usage
            or not choice.text.startswith(text)
        ):
            raise CapabilityError(
                self.name,
                capability="log-probabilities of given text",
                mend=f"{endpoint} does not repeat a prompt with them (`echo`, `logprobs`), as vLLM does: take a server that "
                "does, or a reward and a search that want none.",
            )
        given = slice(answer.usage.prompt_tokens)
        steps = _by_step(trajectory, align(found.tokens[given], text), found.token_logprobs[given])
        return replace(trajectory, steps=steps)


def _reply(choice: Any, endpoint: str) -> Reply:
    found = choice.logprobs
    known = found is not None and found.tokens and found.token_logprobs and None not in found.token_logprobs
    stop = getattr(choice, "stop_reason", None)
    return Reply(
        text=choice.text,
        finish=choice.finish_reason,
        stop=stop if isinstance(stop, str) else None,
        tokens=found.tokens if known else None,
        log_probs=found.token_logprobs if known else None,
        count=None,
        endpoint=endpoint,
    )


def _by_step(trajectory: Trajectory, pieces: Sequence[str], log_probs: Sequence[float | None]) -> tuple[Step, ...]:
    """Give each token's log-probability to the step in which its text begins; what has no text goes with what is before it."""
    ends: list[int] = []
    end = len(trajectory.prompt)
    for step in trajectory.steps:
        end += len(step.text)
        ends.append(end)
    values: list[list[float]] = [[] for _ in trajectory.steps]
    place, current = 0, -1
    for piece, value in zip(pieces, log_probs, strict=True):
        if piece and place >= len(trajectory.prompt):
            while current + 1 < len(ends) and (current < 0 or place >= ends[current]):
                current += 1
        if current >= 0 and value is not None:
            values[current].append(value)
        place += len(piece)
    return tuple(
        replace(step, token_ids=(), log_probs=tuple(own)) for step, own in zip(trajectory.steps, values, strict=True)
    )
