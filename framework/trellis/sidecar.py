"""A function in a process of its own, with a time limit: for verdicts that must neither hang nor take the run along.

A model writes `9**9**9`, and the library that is to judge it computes for hours, inside one instruction that no signal
interrupts. In a process of its own it is simply ended, and the next call starts another. This works on any thread,
unlike time limits made of signals. Names hash alike in there (`PYTHONHASHSEED=0`), so that what a library draws out of
a set does not depend on the process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from typing import Any, TextIO

from trellis.errors import TrellisError
from trellis.types import JSON

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from trellis.sidecar import serve; serve(sys.argv[2])"
)
_MEMORY_BYTES = 8 << 30
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class SidecarError(TrellisError):
    """A call was not answered: the function raised, or its process ended.

    Attributes:
        function: The function, as `"module:function"`.
    """

    def __init__(self, function: str, reason: str) -> None:
        self.function = function
        super().__init__(f"{function}: {reason}")


class SidecarTimeoutError(SidecarError):
    """A call took too long; its process was ended, the next call starts another."""


class Sidecar:
    """Calls one function in a process of its own.

    The process starts with the first call and ends with this object, or with the process it was started from. Calls are
    answered one at a time, on whatever thread they are made. Safe to pickle: the copy starts a process of its own.

    Args:
        function: `"module:function"`: takes and returns one JSON value, and keeps no state that an answer depends on.
    """

    def __init__(self, function: str) -> None:
        self.function = function
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._parent = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the function alone."""
        return type(self), (self.function,)

    def call(self, value: JSON, *, seconds: float | None = None) -> Any:
        """Return the function's answer.

        Args:
            value: The function's argument.
            seconds: After so long, not counting the start of the process, the call is given up; None waits for ever.

        Raises:
            SidecarTimeoutError: It took longer.
            SidecarError: The function raised, or its process ended, e.g. out of memory.
        """
        with self._lock:
            process = self._running()
            late = threading.Event()
            timer = threading.Timer(seconds or 0, _give_up, (process, late))
            if seconds is not None:
                timer.start()
            try:
                answer = self._exchange(process, json.dumps(value))
            except BaseException:
                # What it still answers would be taken for the answer to the next call.
                self.close()
                raise
            finally:
                timer.cancel()
            if seconds is not None:
                timer.join()
            if late.is_set() or not answer.endswith("\n"):
                self.close()
                if late.is_set():
                    raise SidecarTimeoutError(self.function, f"no answer within {seconds:g} s")
                raise SidecarError(self.function, f"its process ended with exit code {process.returncode}")
        kind, result = json.loads(answer)
        if kind == "error":
            raise SidecarError(self.function, result)
        return result

    def close(self) -> None:
        """End the process; the next call starts another."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        """Return the process, started and ready."""
        if self._process is not None and self._parent == os.getpid() and self._process.poll() is None:
            return self._process
        if self._parent == os.getpid():
            self.close()
        self._parent = os.getpid()
        self._process = process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), self.function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_ONE_THREAD, "PYTHONHASHSEED": "0"},
        )
        weakref.finalize(self, _end, process)
        # Imports are not on the clock of the first call.
        assert process.stdout is not None
        ready = process.stdout.readline()
        if ready != "ready\n":
            self.close()
            raise SidecarError(self.function, json.loads(ready)[1] if ready else "its process did not start")
        return process

    @staticmethod
    def _exchange(process: subprocess.Popen[str], line: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline()
        except BrokenPipeError:
            return ""


def _give_up(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    process.kill()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def serve(function: str) -> None:
    """Answer calls from standard input until it ends; what the function prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    module, _, name = function.partition(":")
    try:
        call = getattr(importlib.import_module(module), name)
    except Exception as error:
        _answer(answers, "error", f"{type(error).__name__}: {error}")
        return
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        try:
            result = call(json.loads(line))
            kind = "result"
        except Exception as error:
            kind, result = "error", f"{type(error).__name__}: {error}"
        _answer(answers, kind, result)


def _answer(answers: TextIO, kind: str, result: JSON) -> None:
    answers.write(json.dumps([kind, result]) + "\n")
    answers.flush()


def _limit_memory() -> None:
    """A number with a billion digits must not take the machine's memory."""
    try:
        import resource
    except ImportError:
        return  # Not on this system; the time limit stands.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES if hard < 0 else min(_MEMORY_BYTES, hard), hard))
