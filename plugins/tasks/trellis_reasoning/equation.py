"""Equation: solve a linear equation in one unknown, one operation a line, without a line to waste.

    4x + 7 = 27 in 3
    -3: 4x + 4 = 24
    /4: x + 1 = 6
    -1: x = 5

A line names its operation and the equation after it. Both sides are divided by a common factor (`/4`), or a number is
taken off them (`-3`) or put on (`+1`), or some x are taken off (`-2x`): at most three at once, and never more than there
are. It is solved when x is alone on one side and a number on the other, in no more lines than the problem says.

Every operation keeps the solution, and taking off all there is and then dividing finds it at last, but too late: above
it takes `-3`, `-3`, `-1` and `/4`, four lines. In time is who makes all numbers divisible first, so that less is left to
take off. Only `-3` and `+1` do that here; whoever begins with `-2` has done nothing wrong and is lost. Whether a line
keeps the solution in time is decided exactly, by trying all operations in the lines that are left.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from math import gcd
from random import Random
from typing import NamedTuple, cast

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import EquationConfig
from trellis_reasoning.moves import Fault, MovesTask

MAX_LINES = 8
"""More lines than this would take the exact search too long."""

_LINE = re.compile(r"([-+/](?:[0-9]{1,9}x?|x)): ([0-9x+= ]{1,99})")
_ANSWER = re.compile(r"[^:\n]+: (?:x = (?P<right>[1-9][0-9]{0,39})|(?P<left>[1-9][0-9]{0,39}) = x)")
_PROBLEM = re.compile(r"([^=]*)=([^=]*?)(?:\bin\s+([0-9]{1,4})\s*(?:lines?\s*)?)?")
_SIDE = re.compile(r"\s*(?:([0-9]{0,4})\s*(x)\s*)?(?:(?(2)\+)\s*([0-9]{1,4})\s*)?")
_EXAMPLE = "4x + 7 = 27 in 3"


class Sides(NamedTuple):
    """The equation `ax + b = cx + d`; what is 0 is not written."""

    a: int
    b: int
    c: int
    d: int

    def __str__(self) -> str:
        return f"{_side(self.a, self.b)} = {_side(self.c, self.d)}"

    @property
    def solved(self) -> bool:
        """Whether x is alone on one side and a number on the other."""
        return (self.a, self.b, self.c) == (1, 0, 0) or (self.a, self.c, self.d) == (0, 1, 0)

    @property
    def solution(self) -> int | None:
        """The only x that solves the equation; None where there is none or it is no whole number of 1 or more."""
        if self.a == self.c or (self.d - self.b) % (self.a - self.c):
            return None
        x = (self.d - self.b) // (self.a - self.c)
        return x if x >= 1 else None


class State(NamedTuple):
    """An equation, and in how many lines it is to be solved."""

    equation: Sides
    lines: int


class Equation(MovesTask[State]):
    """Equations with random solutions, an exact verifier and an exact step oracle.

    The tokens of a line are separated as above, x before the number; the last line has no newline after it.
    """

    Config = EquationConfig

    def __init__(self, config: EquationConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw an equation with a whole solution."""
        c = self.config
        x = random.randint(1, c.max_solution)
        right = random.randint(1, c.max_coefficient) if c.both_sides else 0
        left = right + random.randint(1, c.max_coefficient)
        number = random.randint(1, c.max_number)
        equation = Sides(left, number, right, number + (left - right) * x)
        problem = _problem(equation, c.lines)
        return str(equation), problem

    def accepts(self, problem: Problem) -> bool:
        """Say whether it takes all its lines, and taking off all there is before dividing takes more."""
        c = self.config
        equation, lines = _given(problem)
        return (
            equation.d <= c.max_total
            and self.at_leisure(equation) >= lines + c.saved_lines
            and self.fewest_lines(equation) == lines
        )

    def at_leisure(self, equation: Sides) -> int:
        """Return how many lines it takes to take off all there is, and then to divide."""
        off = min(equation.a, equation.c), min(equation.b, equation.d)
        return sum(-(-number // self.config.at_once) for number in off) + (abs(equation.a - equation.c) > 1)

    def fewest_lines(self, equation: Sides) -> int:
        """Return how many lines it takes to solve an equation that has a whole solution of 1 or more."""
        return next(lines for lines in range(self.at_leisure(equation) + 1) if self.in_time(equation, lines))

    def in_time(self, equation: Sides, lines: int) -> bool:
        """Say whether an equation can be solved in at most so many lines."""
        return lines >= self.at_leisure(equation) or _solvable(equation, lines, self.config.at_once)

    def initial(self, problem: Problem) -> State:
        """Return what is given."""
        return _given(problem)

    def moves(self, problem: Problem, state: State) -> dict[str, State]:
        """Return every operation that the rules allow; none where no line is left."""
        equation, lines = state
        moves = _moves(equation, self.config.at_once) if lines else {}
        return {f"{operation}: {after}": State(after, lines - 1) for operation, after in moves.items()}

    def after(self, problem: Problem, state: State, line: str) -> State:
        """Return the equation after an operation, and the lines left."""
        equation, lines = state
        if not lines:
            raise Fault(f"there are only {_given(problem).lines} lines")
        if equation.solved:
            raise Fault("x is found, nothing may follow")
        if not (match := _LINE.fullmatch(line)):
            raise Fault(f"{line[:60]!r} is not of the form '-3: 4x + 4 = 24'")
        after = _moves(equation, self.config.at_once).get(match[1])
        if after is None:
            raise Fault(f"{match[1]} is not possible in {equation}")
        if match[2] != str(after):
            raise Fault(f"after {match[1]} it is {after}, not {match[2]}")
        return State(after, lines - 1)

    def solved(self, problem: Problem, state: State) -> bool:
        """Say whether x is found."""
        return state.equation.solved

    def solvable(self, problem: Problem, state: State) -> bool:
        """Say whether the lines left are enough."""
        return self.in_time(*state)

    def over(self, problem: Problem, state: State) -> bool:
        """Say whether no line is left: after a solution in fewer lines, a newline at the end does no harm."""
        return not state.lines

    def lacking(self, problem: Problem, state: State) -> str:
        """Say that the last equation is not solved."""
        return f"it ends with {state.equation}, which is not solved"

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory; `reason` also says how many lines the problem takes if it allows too few."""
        outcome, (given, lines) = super().verify(trajectory), _given(trajectory.problem)
        if outcome.correct or not trajectory.finished or self.in_time(given, lines):
            return outcome
        few = f" ({given} takes {self.fewest_lines(given)} lines at least)"
        return replace(outcome, reason=outcome.reason + few)

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the last line's `x = 4`, also where it says `4 = x`; None where x is not alone there."""
        match = _ANSWER.fullmatch(trajectory.text.rpartition(self.separator)[2])
        return f"x = {match['left'] or match['right']}" if match else None

    def parse(self, text: str) -> Problem:
        """Read a problem like `4x + 7 = 27 in 3`; without the number of lines it is the fewest possible.

        Raises:
            ProblemSyntaxError: The text is no such problem, its solution is no whole number of 1 or more, or finding it
                takes too many lines.
        """
        if not (match := _PROBLEM.fullmatch(text.strip())):
            reason = "it takes two sides with one '=' between them, and perhaps 'in' and a number of lines"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        numbers: list[int] = []
        for side in match[1], match[2]:
            if not side.strip() or not (parts := _SIDE.fullmatch(side)):
                reason = f"{side.strip()[:60]!r} is no side: it takes '3x', '3x + 4' or '4', numbers up to 9999"
                raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
            numbers += [int(parts[1] or 1) if parts[2] else 0, int(parts[3] or 0)]
        equation = Sides(*numbers)
        if equation.solution is None:
            reason = "there is not one solution, a whole number of 1 or more"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        if match[3] and int(match[3]) > MAX_LINES:
            raise ProblemSyntaxError(text, reason=f"it takes at most {MAX_LINES} lines", expected=_EXAMPLE)
        if match[3]:
            return _problem(equation, int(match[3]))
        fewest = next((lines for lines in range(MAX_LINES + 1) if self.in_time(equation, lines)), None)
        if fewest is None:
            raise ProblemSyntaxError(text, reason=f"it takes more than {MAX_LINES} lines", expected=_EXAMPLE)
        return _problem(equation, fewest)


def _moves(equation: Sides, at_once: int) -> dict[str, Sides]:
    """Return the equation after each operation that the rules allow."""
    a, b, c, d = equation
    moves: dict[str, Sides] = {}
    for count in range(1, at_once + 1):
        if count <= min(a, c):
            moves[f"-{_side(count, 0)}"] = Sides(a - count, b, c - count, d)
        if count <= min(b, d):
            moves[f"-{count}"] = Sides(a, b - count, c, d - count)
        moves[f"+{count}"] = Sides(a, b + count, c, d + count)
    common = gcd(*equation)
    for divisor in range(2, common + 1):
        if common % divisor == 0:
            moves[f"/{divisor}"] = Sides(a // divisor, b // divisor, c // divisor, d // divisor)
    return moves


@lru_cache(maxsize=1 << 18)
def _solvable(equation: Sides, lines: int, at_once: int) -> bool:
    if equation.solved:
        return True
    # x on both sides, numbers on both sides, and a number before the x that remains take a line each at least.
    a, b, c, d = equation
    if lines < (min(a, c) > 0) + (min(b, d) > 0) + (abs(a - c) > 1):
        return False
    return any(_solvable(after, lines - 1, at_once) for after in _moves(equation, at_once).values())


def _side(of_x: int, number: int) -> str:
    x = "" if not of_x else "x" if of_x == 1 else f"{of_x}x"
    return f"{x} + {number}" if x and number else x or str(number)


def _problem(equation: Sides, lines: int) -> Problem:
    text = f"{equation} in {lines}"
    return Problem(id=text.replace(" ", ""), text=text, data={"equation": tuple(equation), "lines": lines})


def _given(problem: Problem) -> State:
    a, b, c, d = cast("tuple[int, int, int, int]", problem.data["equation"])
    return State(Sides(a, b, c, d), cast("int", problem.data["lines"]))
