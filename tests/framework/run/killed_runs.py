"""Runs that are killed at a chosen moment: a module of its own, for the processes that die import it by name.

A moment is a function of the engine, whether it is before or after its work, and which of its calls it is.
"""

import os
import signal
from pathlib import Path

SMALL = Path(__file__).parent / "data" / "small.yaml"


def run_until(out, function, when, call, resume):
    """Run (or resume) the small pipeline in `out`, and be killed `before` or `after` a call of a function."""
    from trellis import load_pipeline
    from trellis.component import load
    from trellis.run.pipeline import run_pipeline

    owner, _, name = function.rpartition(".")
    place = load(owner) if ":" in owner else __import__(owner, fromlist=[name])
    original, calls = getattr(place, name), []

    def wrapped(*args, **kwargs):
        calls.append(args)
        if len(calls) == call and when == "before":
            _die()
        if len(calls) == call and when == "in the middle of":
            _append_half(*args)
            _die()
        result = original(*args, **kwargs)
        if len(calls) == call and when == "after":
            _die()
        return result

    setattr(place, name, wrapped)
    run_pipeline(load_pipeline(SMALL), out=out, resume=resume)


def _append_half(path, record):
    with path.open("a", encoding="utf-8") as file:
        file.write(repr(record)[:20])


def _die():
    os.kill(os.getpid(), signal.SIGKILL)
