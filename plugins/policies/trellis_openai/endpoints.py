"""What both APIs share: requests side by side, choices that a server left out, and what a server cannot be asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, TypeVar

from trellis import Completion, Policy, SampleRequest
from trellis.errors import CapabilityError, EndpointError
from trellis_openai.config import EndpointsConfig
from trellis_openai.pool import Pool
from trellis_openai.replies import Reply, completion

A = TypeVar("A")
B = TypeVar("B")


class Endpoints(Policy):
    """A policy that asks servers. Tokens are the servers' own: completions and steps carry their text and probabilities only.

    Attributes:
        name: The component's name, as messages have it.
        pool: The servers.
    """

    name: str

    def __init__(self, config: EndpointsConfig) -> None:
        self._settings = config
        self.pool = Pool(config)
        self._model = config.model

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request with its `n` completions, in order.

        Raises:
            EndpointError: A server refuses a request, or failed as often as it may.
            CapabilityError: A request wants what the servers do not offer.
        """
        for request in requests:
            self._check(request)
        model = self.model
        return self._side_by_side(lambda request: self._answer(request, model), requests)

    @property
    def model(self) -> str:
        """The model's name on the servers.

        Raises:
            EndpointError: None is configured, and the servers do not have just one.
        """
        if self._model is None:
            found, endpoint = self.pool.ask(lambda client: client.models.list())
            names = [model.id for model in found]
            if len(names) != 1:
                reason = f"it has the models {', '.join(names) or '(none)'}: say which, `model: NAME`"
                raise EndpointError(endpoint, status=200, reason=reason)
            self._model = names[0]
        return self._model

    def _side_by_side(self, work: Callable[[A], B], items: Sequence[A]) -> list[B]:
        """Do the work on all items, so many at once as may be; the first error ends it all."""
        threads = ThreadPoolExecutor(min(self._settings.max_concurrency, max(1, len(items))))
        try:
            with self.pool.patience():
                futures = [threads.submit(work, item) for item in items]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                return [future.result() for future in futures]
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    @abstractmethod
    def _ask(self, request: SampleRequest, model: str, *, n: int, seed: int) -> list[Reply]:
        """Ask for n choices; a server may give fewer."""

    def _answer(self, request: SampleRequest, model: str) -> list[Completion]:
        replies: list[Reply] = []
        while len(replies) < request.n:
            seed = (request.seed + len(replies)) % 2**63
            found = self._ask(request, model, n=request.n - len(replies), seed=seed)
            if not found:
                raise EndpointError(self._settings.base_urls[0], status=200, reason="an answer without any choice")
            replies += found
        # A server that is told of the stop text says what ended a choice; of another, the text is read.
        stop = request.stop if self._settings.server == "openai" else None
        return [completion(r, stop=stop, masked=request.grammar is not None) for r in replies[: request.n]]

    def _check(self, request: SampleRequest) -> None:
        if request.choices is not None:
            raise CapabilityError(self.name, capability="choices", mend="leave `choices` out of the request.")
        if request.grammar is None:
            return
        if self._settings.server != "vllm":
            mend = "a plain server takes no grammar: where it is vLLM, set `server: vllm`."
            raise CapabilityError(self.name, capability="grammar", mend=mend)
        if request.prefix.steps:
            mend = "a server's grammar begins where its text does: sample whole completions (`until: end`)."
            raise CapabilityError(self.name, capability="grammar that goes on from steps", mend=mend)

    def _options(self, request: SampleRequest, *, n: int, seed: int) -> dict[str, Any]:
        """Return what both APIs are told alike."""
        options: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            # Servers take their model's own defaults for what is left out, and would sample from a part of its tokens.
            "top_p": 1.0,
            "seed": seed,
        }
        if n > 1:
            options["n"] = n
        if self._settings.server == "vllm":
            extra: dict[str, Any] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
            if request.stop is not None:
                options["stop"] = [request.stop]
                extra["include_stop_str_in_output"] = True
            if request.grammar is not None:
                extra["structured_outputs"] = {"grammar": request.grammar}
            options["extra_body"] = extra
        return options


def counted(replies: Sequence[Reply], total: int | None) -> list[Reply]:
    """Share the tokens of an answer among its choices where they do not show their own: the sum is what budgets count."""
    if total is None:
        return list(replies)
    shares, left = divmod(total, max(1, len(replies)))
    return [replace(reply, count=shares + (index < left)) for index, reply in enumerate(replies)]
