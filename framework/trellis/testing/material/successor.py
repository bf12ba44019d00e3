"""A task small enough to see through: write the successor of each digit, one per line; after 9 comes 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from trellis.component import Config
from trellis.contracts import Task
from trellis.errors import ProblemSyntaxError
from trellis.types import Outcome, Problem, Split, Step, Trajectory


class SuccessorConfig(Config):
    """Which problems there are."""

    size: int = Field(60, ge=1, le=330)
    """Problems in each split: numbers of two or three digits."""


class Successor(Task):
    """`47` is solved by the two steps `5` and `8`."""

    Config = SuccessorConfig

    def __init__(self, config: SuccessorConfig) -> None:
        self.config = config

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return every third number from 10 on, each split starting at another."""
        first = {"train": 10, "validation": 11, "test": 12}[split]
        return [self.parse(str(first + 3 * index)) for index in range(self.config.size)]

    def parse(self, text: str) -> Problem:
        """Read a row of digits."""
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit()):
            raise ProblemSyntaxError(text, reason="it is not a row of digits", expected="47")
        return Problem(id=digits, text=digits)

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Compare the text, character by character: part of it right is worth part of the score.

        An untrained policy is rarely right to the end, and an algorithm that compares rollouts needs them to differ.
        """
        expected, text = _solution(trajectory.problem), trajectory.text
        if trajectory.finished and text == expected:
            return Outcome(correct=True, score=1.0, gain=1.0)
        same = 0
        while same < min(len(expected), len(text)) and expected[same] == text[same]:
            same += 1
        score = same / (len(expected) + 1)
        return Outcome(correct=False, score=score, reason=f"the solution is {expected!r}", gain=score)

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return the one solution of each problem."""
        return [self._trace(problem) for problem in self.problems(split)]

    def _trace(self, problem: Problem) -> Trajectory:
        steps = tuple(Step(text) for text in self.split_steps(_solution(problem)))
        trace = replace(self.start(problem), steps=steps, finished=True)
        return replace(trace, answer=self.answer(trace))

    def answer(self, trajectory: Trajectory) -> str | None:
        """Return the lines, joined by spaces."""
        return " ".join(trajectory.text.split()) or None

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """A step can still lead to the solution while all lines so far begin it."""
        solution, text, verdicts = _solution(trajectory.problem), "", []
        for step in trajectory.steps:
            text += step.text
            verdicts.append(solution.startswith(text))
        return verdicts

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return every digit, right or wrong, as long as the steps so far are digits and one is missing."""
        done, missing = trajectory.text.split("\n"), len(trajectory.problem.text)
        whole = all(len(line) == 1 and line in "0123456789" for line in done[:-1]) and not done[-1]
        if not trajectory.open or not whole or len(done) > missing:
            return []
        return [f"{digit}\n" if len(done) < missing else f"{digit}" for digit in range(10)]


def _solution(problem: Problem) -> str:
    return "\n".join(str((int(digit) + 1) % 10) for digit in problem.text)
