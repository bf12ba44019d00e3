"""Drawing the problems of a split, for tasks that make their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random

from trellis import Problem
from trellis.errors import TaskError
from trellis.types import Split
from trellis_reasoning.config import ProceduralConfig

DEFAULT_SIZES: dict[Split, int] = {"train": 6000, "validation": 200, "test": 500}
_MAX_MISSES = 20_000
"""Draws in a row without a new problem after which there are taken to be no more."""


def draw_problems(
    config: ProceduralConfig,
    split: Split,
    *,
    draw: Callable[[Random], tuple[str, Problem]],
    accept: Callable[[Problem], bool] = lambda _: True,
) -> tuple[Problem, ...]:
    """Draw different problems until the split has its size.

    A problem's *key* says what it is however it is written (for countdown: the sorted numbers and the target). The
    key's hash decides the split, so that no problem of one split is in another, not even in another order, whatever
    the sizes and seeds are. `train` may hold a key in several spellings; the other splits hold each key once, so that
    their problems are independent measurements. A smaller split of the same seed is the beginning of a larger one.

    Args:
        config: Sizes and seed.
        split: Which split to draw.
        draw: Draws a problem; returns its key and the problem.
        accept: Whether a drawn problem may be used; asked last, for it may be slow.

    Raises:
        TaskError: There are not as many problems as the config asks for. Sizes left out take what there is.
    """
    asked = {"train": config.train_size, "validation": config.validation_size, "test": config.test_size}[split]
    size = DEFAULT_SIZES[split] if asked is None else asked
    # A string seeds `Random` through SHA-512: the same numbers whatever PYTHONHASHSEED is.
    random = Random(f"{config.data_seed}/{split}")
    problems: dict[str, Problem] = {}
    misses = 0
    while len(problems) < size:
        if misses == _MAX_MISSES:
            if asked is None:
                break
            raise TaskError(split, asked=size, found=len(problems))
        key, problem = draw(random)
        identity = problem.id if split == "train" else key
        if identity not in problems and split_of(key) == split and accept(problem):
            problems[identity] = problem
            misses = 0
        else:
            misses += 1
    return tuple(problems.values())


def split_of(key: str) -> Split:
    """Return the split a key belongs to: seven in ten train, one validation, two test."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 10
    return "train" if share < 7 else "validation" if share < 8 else "test"
