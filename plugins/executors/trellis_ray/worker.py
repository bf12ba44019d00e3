"""What runs on the cluster: one job at a time, in a process that is kept for later ones."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ray import cloudpickle


class Worker:
    """A process on the cluster, seen from within.

    Args:
        directory: The working directory of whoever gives the work: relative paths mean the same here, if it exists here.
        path: Where modules are searched for over there.
    """

    def __init__(self, directory: str, path: Sequence[str]) -> None:
        if os.path.isdir(directory):
            os.chdir(directory)
        sys.path += [entry for entry in path if entry not in sys.path]
        self._function: Callable[[Any, int], Any] | None = None
        self._item: Any = None

    def ready(self) -> None:
        """Answer once the process is there."""

    def read(self, function: bytes, item: bytes) -> bytes | None:
        """Take a job; importing what it needs is not on its clock. Return what went wrong, as `run` does."""
        try:
            self._function, self._item = cloudpickle.loads(function), cloudpickle.loads(item)
        except Exception as error:
            return _packed(error)
        return None

    def run(self, seed: int) -> bytes:
        """Do the job and return its value and its exception, of which one is None."""
        assert self._function is not None
        try:
            return bytes(cloudpickle.dumps((self._function(self._item, seed), None)))
        except Exception as error:
            return _packed(error)


def _packed(error: Exception) -> bytes:
    """Pack an exception with its traceback as a note; one that does not survive that as a `RuntimeError`."""
    note = "".join([f"In a worker on {os.uname().nodename}:\n", *traceback.format_exception(error)]).rstrip()
    error.add_note(note)
    try:
        message = bytes(cloudpickle.dumps((None, error)))
        cloudpickle.loads(message)
    except Exception:
        substitute = RuntimeError(traceback.format_exception_only(error)[0].strip())
        substitute.add_note(note)
        return bytes(cloudpickle.dumps((None, substitute)))
    return message
