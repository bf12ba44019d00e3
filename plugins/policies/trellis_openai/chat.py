"""The chat API (https://developers.openai.com/api/reference/resources/chat): turns in, the assistant's next turn out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trellis import SampleRequest, Trajectory
from trellis.errors import CapabilityError
from trellis_openai.config import ChatConfig
from trellis_openai.endpoints import Endpoints, counted
from trellis_openai.replies import Reply


class OpenAIChat(Endpoints):
    """Asks for the assistant's turn; where it has begun, a vLLM server goes on with it."""

    name = "openai-chat"
    Config = ChatConfig

    def __init__(self, config: ChatConfig) -> None:
        super().__init__(config)
        self.config = config

    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Raise CapabilityError: the chat API says nothing of text that is given."""
        raise CapabilityError(
            self.name,
            capability="log-probabilities of given text",
            mend="the chat API does not say them: take `use: openai`, which asks for completions.",
        )

    def _check(self, request: SampleRequest) -> None:
        super()._check(request)
        if request.prefix.text and self.config.server != "vllm":
            raise CapabilityError(
                self.name,
                capability="continuation of steps",
                mend="a plain chat server begins a turn of its own. Take a search of whole completions (greedy, best-of-n), "
                "`use: openai`, or where the server is vLLM, set `server: vllm`.",
            )

    def _ask(self, request: SampleRequest, model: str, *, n: int, seed: int) -> list[Reply]:
        messages: list[Any] = [{"role": "user", "content": request.prefix.prompt}]
        if self.config.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.config.system_prompt})
        options = self._options(request, n=n, seed=seed)
        if request.prefix.text:
            messages.append({"role": "assistant", "content": request.prefix.text})
            options["extra_body"] |= {"add_generation_prompt": False, "continue_final_message": True}
        answer, endpoint = self.pool.ask(
            lambda client: client.chat.completions.create(model=model, messages=messages, logprobs=True, **options)
        )
        replies = [_reply(choice, endpoint) for choice in answer.choices or ()]
        return counted(replies, answer.usage.completion_tokens if answer.usage else None)


def _reply(choice: Any, endpoint: str) -> Reply:
    tokens = choice.logprobs.content if choice.logprobs is not None else None
    stop = getattr(choice, "stop_reason", None)
    return Reply(
        text=choice.message.content or "",
        finish=choice.finish_reason,
        stop=stop if isinstance(stop, str) else None,
        tokens=[token.token for token in tokens] if tokens else None,
        log_probs=[token.logprob for token in tokens] if tokens else None,
        count=None,
        endpoint=endpoint,
    )
