"""Ctrl-C: the first asks the run to stop after its step, the second is a KeyboardInterrupt as ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Interrupt:
    """Whether the run was asked to stop."""

    asked: bool = False


@contextmanager
def stop_on_interrupt(say: Callable[[str], None]) -> Iterator[Interrupt]:
    """Take over SIGINT for as long as the context lasts.

    Only the main thread may: a run in another thread cannot be stopped by Ctrl-C.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True
        say("stopping after this step; Ctrl-C once more stops at once and goes back to the last checkpoint")

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
