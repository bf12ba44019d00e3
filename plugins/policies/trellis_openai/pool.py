"""Several endpoints of one model as one: the least loaded is asked, and who fails is left alone for a while.

An endpoint that failed is *out* until its time is over; then the first request that comes by probes it with a list of its models,
and it is asked again when it answers that. Waiting times grow by 2^k with up to a quarter less by chance ("jitter", so that many
who wait do not come back at once: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). A server that says
`Retry-After` (RFC 9110, section 10.2.3) is left alone for as long as it says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Condition
from typing import TypeVar

import openai

from trellis.errors import EndpointError
from trellis_openai.config import EndpointsConfig

T = TypeVar("T")

PROBE_SECONDS = 10.0
"""How long a list of models may take."""
AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed."""


@dataclass(slots=True)
class Endpoint:
    """One server.

    Attributes:
        url: Its address.
        client: Speaks to it.
        under_way: How many requests it has.
        failures: How often it failed since it last answered.
        out_until: On the monotonic clock; it is left alone before.
    """

    url: str
    client: openai.OpenAI
    under_way: int = 0
    failures: int = 0
    out_until: float = 0.0


class Pool:
    """Asks the endpoints of a config. Safe for many threads.

    Args:
        config: Where they are, and how patient to be.
    """

    def __init__(self, config: EndpointsConfig) -> None:
        self._config = config
        self._changed = Condition()
        self._round = 0
        self.endpoints = [
            Endpoint(
                url,
                openai.OpenAI(
                    base_url=url,
                    # Without one the client would take whatever OPENAI_API_KEY holds, and send it to this server.
                    api_key=config.api_key or "none",
                    timeout=config.timeout_seconds,
                    max_retries=0,
                ),
            )
            for url in config.base_urls
        ]

    def ask(self, question: Callable[[openai.OpenAI], T]) -> tuple[T, str]:
        """Ask until there is an answer; returns it with the address of the endpoint that gave it.

        Raises:
            EndpointError: A server refuses the question, or it failed as often as it may.
        """
        round_ = self._round
        for attempt in range(self._config.retries + 1):
            endpoint, failures = self._take(round_)
            try:
                if failures:
                    endpoint.client.models.list(timeout=PROBE_SECONDS)
                answer = question(endpoint.client)
            except openai.APIError as error:
                again = self._failed(endpoint, error, failures)
                if not again or attempt == self._config.retries:
                    raise _given_up(endpoint, error, max(attempt + 1, endpoint.failures)) from error
            except BaseException:
                self._release(endpoint)
                raise
            else:
                self._release(endpoint, answered=True)
                return answer, endpoint.url
        raise AssertionError

    def close(self) -> None:
        """Close the connections."""
        for endpoint in self.endpoints:
            endpoint.client.close()

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Let nobody wait on after an error: it ends the waiting of all who asked before it."""
        try:
            yield
        except BaseException:
            with self._changed:
                self._round += 1
                self._changed.notify_all()
            raise

    def _take(self, round_: int) -> tuple[Endpoint, int]:
        """Return the endpoint with the fewest requests, and how often it has failed; wait while all are out."""
        with self._changed:
            while True:
                now = time.monotonic()
                # While one probes what was out, the others go elsewhere.
                if self._round != round_:
                    raise EndpointError(self.endpoints[0].url, status=None, reason="another request was given up")
                free = [e for e in self.endpoints if e.out_until <= now and not (e.failures and e.under_way)]
                if free:
                    # What is out is probed as soon as its time is over: nobody else finds out that it is back.
                    endpoint = min(free, key=lambda e: (e.failures == 0, e.under_way))
                    endpoint.under_way += 1
                    return endpoint, endpoint.failures
                out = [e.out_until - now for e in self.endpoints if e.out_until > now]
                self._changed.wait(timeout=min(out) if out else None)

    def _release(self, endpoint: Endpoint, *, answered: bool = False) -> None:
        with self._changed:
            endpoint.under_way -= 1
            if answered:
                endpoint.failures = 0
            self._changed.notify_all()

    def _failed(self, endpoint: Endpoint, error: openai.APIError, failures: int) -> bool:
        """Take an endpoint out for a while, and say whether it is of use to ask again."""
        status = getattr(error, "status_code", None)
        config = self._config
        with self._changed:
            endpoint.under_way -= 1
            self._changed.notify_all()
            if status is not None and status < 500 and status not in AGAIN:
                return False
            wait = min(config.backoff_seconds * 2**failures * (1 - random.random() / 4), config.max_wait_seconds)
            asked = _retry_after(error.response.headers) if isinstance(error, openai.APIStatusError) else None
            if asked is not None and asked > config.max_wait_seconds:
                return False
            # Requests that were under way together fail together: that is one failure.
            if endpoint.failures == failures:
                endpoint.failures += 1
            endpoint.out_until = max(endpoint.out_until, time.monotonic() + (wait if asked is None else asked))
            # Each request sees few of the failures where many take turns: all of them together are enough.
            return any(each.failures <= config.retries for each in self.endpoints)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to be left alone: a number, or until a date."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _given_up(endpoint: Endpoint, error: openai.APIError, attempts: int) -> EndpointError:
    reason = _message(error)
    if attempts > 1:
        reason = f"given up after {attempts} attempts, the last one here: {reason}"
    return EndpointError(endpoint.url, status=getattr(error, "status_code", None), reason=reason)


def _message(error: openai.APIError) -> str:
    """Return what the server's body says, or what went wrong on the way to it."""
    body = error.body
    if isinstance(body, Mapping):
        found = body.get("message") or body.get("detail") or body.get("error") or body
        return str(found.get("message", found)) if isinstance(found, Mapping) else str(found)
    if body:
        return str(body)
    cause = error.__cause__
    return f"{error.message}{f' ({cause})' if cause and str(cause) not in error.message else ''}"
