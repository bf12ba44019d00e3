"""What the executor tests run: a module of its own, for worker processes import it by name."""

import os
import random
import signal
import sys
import time
from pathlib import Path

from trellis.errors import TaskError


def draw(item, seed):
    return item, random.Random(seed).random()


def fail_on_odd(item, seed):
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item


def fail_with_fields(item, seed):
    raise TaskError("train", asked=item, found=1)


class Stubborn(Exception):
    """Its constructor does not take what pickle gives it."""

    def __init__(self, a, *, b):
        super().__init__(f"{a} and {b}")


def fail_stubbornly(item, seed):
    raise Stubborn(item, b=2)


def misbehave(item, seed):
    """Do what the item says; a number is returned with the process it was computed in."""
    if item == "exit":
        os._exit(3)
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "hang":
        time.sleep(600)
    if item == "unpicklable":
        return lambda: None
    return item, os.getpid()


def fail_first(path, seed):
    """Fail in the manner of the file's name when called for the first time, then return the seed."""
    if not Path(path).exists():
        Path(path).touch()
        misbehave(Path(path).name, seed)
        raise RuntimeError("the first time")
    return seed


def nap(item, seed):
    time.sleep(item)
    return item


def heavy_modules(item, seed):
    return [name for name in ("torch", "transformers") if name in sys.modules]


class SlowToRead:
    """Takes its time to be unpickled, as a function does whose module imports a lot."""

    def __reduce__(self):
        return time.sleep, (1.0,)
