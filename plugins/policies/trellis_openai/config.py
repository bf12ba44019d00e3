"""Configuration of the policies behind an OpenAI-compatible API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from trellis import Config

Seconds = Annotated[float, Field(gt=0)]


class EndpointsConfig(Config):
    """Where the servers are, and what is done when they are slow or fail."""

    base_urls: tuple[str, ...] = Field(default=("http://127.0.0.1:8000/v1",), min_length=1)
    """The endpoints, all of one model: each request goes to the one that has the fewest under way."""
    model: str | None = None
    """The model's name on the servers; left out, the only one that they list."""
    api_key: str | None = Field(default=None, min_length=1)
    """The key, e.g. `${env:OPENAI_API_KEY}`; servers of one's own mostly want none."""
    server: Literal["openai", "vllm"] = "openai"
    """What may be asked of the server: "openai", what OpenAI's API has; "vllm", what vLLM's adds to it (tell the stop text from
    the end of the sequence, keep to a grammar, go on with an assistant's turn)."""
    max_concurrency: int = Field(default=64, ge=1)
    """Requests under way at once, over all endpoints."""
    timeout_seconds: Seconds = 600.0
    """A request that took longer has failed."""
    retries: int = Field(default=6, ge=0)
    """How often a request is asked again, of whichever endpoint, before it is given up."""
    backoff_seconds: Seconds = 0.5
    """How long an endpoint is left alone after a failure; twice as long after each further one, less up to a quarter by
    chance."""
    max_wait_seconds: Seconds = 60.0
    """The longest time an endpoint is left alone. A server that asks for more (`Retry-After`) is given up."""

    @field_validator("base_urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"'{url}' is no address: write it as http://HOST:PORT/v1")
        if len(set(urls)) < len(urls):
            raise ValueError("an address stands there twice")
        return urls


class OpenAIConfig(EndpointsConfig):
    """The completions API."""

    end_token: str | None = Field(default=None, min_length=1)
    """The text of the model's end-of-sequence token, e.g. `<|im_end|>`, where the server takes special tokens in a prompt and
    counts the end among a sample's tokens, as vLLM does: `log_probs` then counts the end of finished steps too."""


class ChatConfig(EndpointsConfig):
    """The chat API: the prompt is the user's turn, the steps are the assistant's."""

    system_prompt: str | None = Field(default=None, min_length=1)
    """The system's turn before the user's."""
