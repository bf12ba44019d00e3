"""What tasks that draw their own problems share: sizes, difficulties, styles, and splits that never overlap."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from trellis.component import Config
from trellis.contracts.task import Task
from trellis.errors import TaskError
from trellis.types import JSON, Problem, Split, Step, Trajectory

Difficulty: TypeAlias = Literal["easy", "medium", "hard"]
Size: TypeAlias = Annotated[int, Field(ge=0)]
Positive: TypeAlias = Annotated[int, Field(ge=1)]

DEFAULT_SIZES: dict[Split, int] = {"train": 6000, "validation": 200, "test": 500}
_MAX_MISSES = 20_000
"""Draws in a row without a new problem after which there are taken to be no more."""


class ProceduralConfig(Config):
    """How hard the problems are, how many to draw, from which seed, and how traces solve them."""

    PRESETS: ClassVar[Mapping[Difficulty, Mapping[str, JSON]]] = {}
    """What each difficulty sets of the fields that are left out; the fields' own defaults are those of "medium"."""

    difficulty: Difficulty = "medium"
    """Sets every field below that is left out."""

    train_size: Size | None = None
    """Problems of the split `train`; left out, 6000 or all that are found."""

    validation_size: Size | None = None
    """Problems of the split `validation`; left out, 200 or all that are found."""

    test_size: Size | None = None
    """Problems of the split `test`; left out, 500 or all that are found."""

    data_seed: int = 0
    """Fixes the problems and traces. The pipeline's own seed never changes them, so runs stay comparable."""

    style: Literal["varied", "canonical"] = "varied"
    """How traces solve: "varied", a solution drawn from all; "canonical", always the one a systematic solver finds first."""

    traces_per_problem: Positive = 1
    """Different traces per problem; fewer where there are no more. Canonical traces are one a problem."""

    @model_validator(mode="before")
    @classmethod
    def _filled_by_difficulty(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("difficulty", "medium") not in ("easy", "medium", "hard"):
            return values
        return {**cls.PRESETS.get(values.get("difficulty", "medium"), {}), **values}


class ProceduralTask(Task):
    """A task that draws its problems and solves them itself.

    A problem's *key* says what it is however it is written (for countdown: the sorted numbers and the target). The
    key's hash decides the split, so that no problem of one split is in another, not even in another order, whatever
    the sizes and seeds are. `train` may hold a key in several spellings; the other splits hold each key once, so that
    their problems are independent measurements. A smaller split of the same seed is the beginning of a larger one.
    """

    def __init__(self, config: ProceduralConfig) -> None:
        self._procedural = config
        self._problems: dict[Split, tuple[Problem, ...]] = {}
        self._traces: dict[Split, tuple[Trajectory, ...]] = {}

    @abstractmethod
    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw one problem and return its key with it."""

    def accepts(self, problem: Problem) -> bool:
        """Say whether a drawn problem may be used; asked last, for it may be slow."""
        return True

    @abstractmethod
    def solution(self, problem: Problem, random: Random | None) -> Sequence[str]:
        """Return the texts of a correct solution's steps, each but the last ending with the separator.

        Args:
            problem: One of this task's.
            random: Draws among all solutions; None asks for the canonical one.
        """

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of a split.

        Raises:
            TaskError: There are not as many as the config asks for. Sizes left out take what there is.
        """
        if split not in self._problems:
            self._problems[split] = self._draw_split(split)
        return self._problems[split]

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return up to `traces_per_problem` different correct solutions of each problem of a split."""
        if split not in self._traces:
            self._traces[split] = tuple(trace for problem in self.problems(split) for trace in self._solutions(problem))
        return self._traces[split]

    def _draw_split(self, split: Split) -> tuple[Problem, ...]:
        c = self._procedural
        asked = {"train": c.train_size, "validation": c.validation_size, "test": c.test_size}[split]
        size = DEFAULT_SIZES[split] if asked is None else asked
        # A string seeds `Random` through SHA-512: the same numbers whatever PYTHONHASHSEED is.
        random = Random(f"{c.data_seed}/{split}")
        problems: dict[str, Problem] = {}
        misses = 0
        while len(problems) < size:
            if misses == _MAX_MISSES:
                if asked is None:
                    break
                raise TaskError(split, asked=size, found=len(problems))
            key, problem = self.draw(random)
            identity = problem.id if split == "train" else key
            if identity not in problems and split_of(key) == split and self.accepts(problem):
                problems[identity] = problem
                misses = 0
            else:
                misses += 1
        return tuple(problems.values())

    def _solutions(self, problem: Problem) -> Iterable[Trajectory]:
        c = self._procedural
        if c.style == "canonical":
            return (self._trace(problem, None),)
        random = Random(f"{c.data_seed}/traces/{problem.id}")
        found: dict[str, Trajectory] = {}
        for _ in range(4 * c.traces_per_problem):
            trace = self._trace(problem, random)
            found.setdefault(trace.text, trace)
            if len(found) == c.traces_per_problem:
                break
        return found.values()

    def _trace(self, problem: Problem, random: Random | None) -> Trajectory:
        steps = tuple(map(Step, self.solution(problem, random)))
        trace = replace(self.start(problem), steps=steps, finished=True)
        return replace(trace, answer=self.answer(trace))


def split_of(key: str) -> Split:
    """Return the split a key belongs to: seven in ten train, one validation, two test."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 10
    return "train" if share < 7 else "validation" if share < 8 else "test"
