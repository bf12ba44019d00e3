"""Arithmetic: a chain of operations, worked out from left to right, one operation per line.

    12 + 7 - 5 + 9 =
    12 + 7 = 19
    19 - 5 = 14
    14 + 9 = 23

There is no precedence: `2 + 3 * 4 =` is 20. With a modulus, `12 + 7 - 5 mod 17 =`, every result is reduced to
0 … modulus - 1. A problem has exactly one right solution, so a step is good as long as all lines so far are right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from random import Random
from typing import cast

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis.procedural import ProceduralTask
from trellis_reasoning.config import ArithmeticConfig

_RESULT = re.compile(r"[^=\n]+ = (-?[0-9]{1,400})")
_PROBLEM = re.compile(
    r"\s*(?P<chain>[0-9]{1,12}(\s*[-+*]\s*[0-9]{1,12})+)\s*(\bmod\s+(?P<modulus>[0-9]{1,12})\s*)?=?\s*"
)


class Arithmetic(ProceduralTask):
    """Chains of operations with their solutions, an exact verifier and an exact step oracle.

    The tokens of a line are separated by exactly one space, the last line has no newline after it. Running values may
    be negative and are written `-3`.
    """

    Config = ArithmeticConfig

    def __init__(self, config: ArithmeticConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw numbers and the operations between them."""
        tokens = [str(random.randint(1, self.config.max_number))]
        for _ in range(self.config.length):
            tokens += [random.choice(self.config.operations), str(random.randint(1, self.config.max_number))]
        problem = _problem(tokens, self.config.modulus)
        return problem.id, problem

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Return the one solution there is."""
        return self.split_steps(self.separator.join(_lines(problem)))

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Compare a trajectory with the one right solution; `reason` names the first faulty line."""
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        pairs = zip_longest(trajectory.text.split(self.separator), _lines(trajectory.problem))
        for place, (line, right) in enumerate(pairs, start=1):
            if line is None or right is None:
                return Outcome(False, 0.0, f"line {place}: {'missing' if line is None else 'one too many'}")
            if line != right:
                return Outcome(False, 0.0, f"line {place}: {line[:60]!r} should be {right!r}")
        return Outcome(True, 1.0)

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether all lines so far are right. Exact."""
        solution = _lines(trajectory.problem)
        verdicts: list[bool] = []
        text, good = "", True
        for place, step in enumerate(trajectory.steps, start=1):
            text += step.text
            ended = trajectory.finished and place == len(trajectory.steps)
            *lines, last = text.split(self.separator)
            if last or ended:
                good = good and [*lines, last] == (solution if ended else solution[: len(lines) + 1])
            else:
                # After a separator a line must be missing.
                good = good and len(lines) < len(solution) and lines == solution[: len(lines)]
            verdicts.append(good)
        return verdicts

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the result of the last line; None where it has none."""
        match = _RESULT.fullmatch(trajectory.text.rpartition(self.separator)[2])
        return str(int(match[1])) if match else None

    def parse(self, text: str) -> Problem:
        """Read a problem like `12 + 7 - 5 + 9 =`, with or without `=` and spaces.

        Numbers, length and operations may be others than the config's. `mod 17` at the end sets a modulus; without it
        the config's holds.

        Raises:
            ProblemSyntaxError: The text is no such problem.
        """
        if not (match := _PROBLEM.fullmatch(text)):
            reason = "it takes whole numbers with + - * between them, at least one operation"
            raise ProblemSyntaxError(text, reason=reason, expected="12 + 7 - 5 + 9 =")
        modulus = int(match["modulus"]) if match["modulus"] else self.config.modulus
        if modulus is not None and modulus < 2:
            raise ProblemSyntaxError(text, reason="a modulus is at least 2", expected="12 + 7 - 5 mod 17 =")
        tokens = re.findall("[0-9]+|[-+*]", match["chain"])
        return _problem([str(int(token)) if token.isdigit() else token for token in tokens], modulus)


def _problem(tokens: Sequence[str], modulus: int | None) -> Problem:
    suffix = "" if modulus is None else f" mod {modulus}"
    return Problem(
        id="".join(tokens) + suffix.replace(" ", "-"),
        text=f"{' '.join(tokens)}{suffix} =",
        data={"tokens": tuple(tokens), "modulus": modulus},
    )


def _lines(problem: Problem) -> list[str]:
    """Return the lines of the one right solution."""
    value, *rest = cast("Sequence[str]", problem.data["tokens"])
    modulus = cast("int | None", problem.data["modulus"])
    lines: list[str] = []
    for operation, number in zip(rest[::2], rest[1::2], strict=True):
        result = _apply(int(value), operation, int(number))
        result = result if modulus is None else result % modulus
        lines.append(f"{value} {operation} {number} = {result}")
        value = str(result)
    return lines


def _apply(a: int, operation: str, b: int) -> int:
    return a + b if operation == "+" else a - b if operation == "-" else a * b
