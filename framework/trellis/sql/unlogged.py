"""sqlglot kept from logging warnings about texts that are refused with an error of ours anyway."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_parsing: ContextVar[bool] = ContextVar("parsing", default=False)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _parsing.get()


# A filter rather than a level: a program that uses sqlglot itself still has its warnings.
logging.getLogger("sqlglot").addFilter(_Silence())


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep sqlglot from logging in this thread or task until the context ends."""
    token = _parsing.set(True)
    try:
        yield
    finally:
        _parsing.reset(token)
