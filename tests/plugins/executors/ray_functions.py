"""What the tests of the Ray executor run: a module of its own, for workers import it by name."""

import os
import random
import time
from pathlib import Path

from trellis.errors import TaskError


def draw(item, seed):
    return item, random.Random(seed).random(), os.getpid()


def fail_with_fields(item, seed):
    raise TaskError("train", asked=item, found=1)


def wait_to_be_killed(item, seed):
    """Say who computes the item; of those that are to be killed, the first to come never ends."""
    number, directory, victims = item
    attempt = len(list(Path(directory).glob(f"{number}-*")))
    (Path(directory) / f"{number}-{attempt}").write_text(str(os.getpid()))
    while number in victims and (attempt == 0 or victims == "always"):
        time.sleep(0.05)
    return number, seed


def die(item, seed):
    if item == 1:
        os._exit(3)
    return item
