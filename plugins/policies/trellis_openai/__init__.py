"""Policies behind an OpenAI-compatible API: `openai` by its completions, `openai-chat` by its chat completions.

They write and are not trained. `openai` goes on from steps and knows log-probabilities, as far as the server says them;
`openai-chat` is for servers and models that offer nothing else.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_openai.config import ChatConfig, OpenAIConfig


@hookimpl
def trellis_policies() -> Iterable[Component]:
    """Return the policies of this plugin."""
    yield Component(
        name="openai",
        summary="one or several OpenAI-compatible endpoints, by the completions API",
        config=OpenAIConfig,
        factory="trellis_openai.completions:OpenAICompletions",
        capabilities=frozenset({"log-probs", "grammar"}),
        extra="openai",
        modules=("openai",),
    )
    yield Component(
        name="openai-chat",
        summary="one or several OpenAI-compatible endpoints, by the chat API: no log-probabilities of given text",
        config=ChatConfig,
        factory="trellis_openai.chat:OpenAIChat",
        capabilities=frozenset({"grammar"}),
        extra="openai",
        modules=("openai",),
    )
